package authsync

import (
	"cmp"
	"context"
	"maps"
	"strings"
	"time"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
)

// snapshot is the input of decide: all that was read at one time. Where it ended in an error it is partial.
type snapshot struct {
	at           time.Time                     // when it began
	secret       secretstore.Secret            // labels and record; zero: it could not be read
	record       secretstore.Record            // on the secret or, if that is later, of this sync's last write
	version      string                        // the id of AWSCURRENT
	credential   secretstore.Credential        // its value
	name         string                        // of the auth method: stated, or the default
	methods      map[string]datadog.AuthMethod // by id, as listed; nil: the listing failed
	shared       bool                          // another secret records the same auth method
	verification verification                  // of a token request that ran beside the listing
	skip         string                        // why there is nothing to do; empty: there is
}

// wantedID returns the id of the auth method that is pinned or recorded; empty: none is.
func (snap snapshot) wantedID() string { return cmp.Or(snap.credential.AuthMethodID, snap.record.ID) }

// gone reports whether the recorded auth method does not exist: the listing lacks it, a Get answered 404, and the
// record is at least 10 minutes old.
func (snap snapshot) gone() bool {
	_, exists := snap.methods[snap.record.ID]
	lookedUp := snap.methods != nil && snap.record.ID != "" && snap.wantedID() == snap.record.ID
	return lookedUp && !exists && snap.at.Sub(snap.record.At) >= 10*time.Minute // Datadog may not show a newer one yet
}

// movedIn reports whether a later look shows another AWSCURRENT.
func (snap snapshot) movedIn(look secretstore.Secret) bool {
	now := look.Labelled(secretstore.Current)
	return now != "" && snap.version != "" && now != snap.version
}

// overtakenIn reports whether a later look shows that another invocation wrote after the secret was read, or found that
// what was lost is not.
func (snap snapshot) overtakenIn(look secretstore.Secret) bool {
	was, is := snap.secret.Record, look.Record
	wrote := was.ID != is.ID || was.Version != is.Version || was.Digest != is.Digest || !was.At.Equal(is.At)
	found := was.State == secretstore.Lost && is.State != secretstore.Lost
	return snap.secret.ARN != "" && (wrote || found)
}

// takeSnapshot reads the value, the labels with the record, and Datadog's auth methods at once. Where the secret states
// all that a token request takes, that runs beside the listing.
func (s *Syncer) takeSnapshot(ctx context.Context, req Request, earlier rounds) (snap snapshot, err error) {
	snap.at = s.Now()
	if err := s.Scope.Admit(req.SecretID, req.ARNPrefix); err != nil {
		return snap, err
	}
	loaded := make(chan error, 1)
	go func() { loaded <- req.Listing.Load(ctx) }()

	var value secretstore.Value
	snap.secret, value, err = s.read(ctx, req, earlier)
	snap.version, snap.record = value.VersionID, snap.secret.Record
	if w := earlier.lastWrite(); w != nil && !snap.record.At.After(w.record.At) {
		snap.record = w.record
	}
	snap.shared = req.Shared != nil && req.Shared(snap.secret)
	switch {
	case err == nil && snap.version == "":
		snap.skip = snap.secret.SkipReason()
		return snap, nil
	case err == nil:
		name := s.NamePrefix + strings.TrimPrefix(snap.secret.Name, s.Scope.Prefix)
		snap.credential, err = secretstore.ParseCredential(value.Text, name, s.URLs)
		if snap.name = cmp.Or(snap.credential.Name, name); err == nil {
			snap.verification = s.verifyEarly(ctx, snap)
		}
	case snap.record.Version == "": // no held credential to ask about
		return snap, err
	}
	if loadErr := <-loaded; loadErr != nil {
		return snap, cmp.Or(err, loadErr)
	}
	return snap, cmp.Or(err, s.addMethods(ctx, &snap, req.Listing))
}

// read reads the secret; with an error, what of it could be read, now or earlier. It waits for the latest of what the
// event, an earlier snapshot and a look showed.
func (s *Syncer) read(ctx context.Context, req Request, earlier rounds) (secretstore.Secret, secretstore.Value, error) {
	if req.secret != nil {
		return *req.secret, req.value, nil
	}
	event, seen := req.Event, earlier.lastRead()
	for _, r := range earlier {
		for _, s := range []*secretstore.Secret{&r.snapshot.secret, r.look} {
			if s != nil && s.LastChanged.After(event.Time) {
				event = secretstore.Event{Time: s.LastChanged, VersionID: s.Labelled(secretstore.Current)}
			}
		}
	}
	secret, value, err := s.Secrets.Read(ctx, cmp.Or(seen.ARN, req.SecretID), event)
	switch {
	case len(earlier) == 0:
	case fault.Is(err, fault.SecretNotFound):
		err = fault.New(fault.SecretsUnavailable, "Secrets Manager does not show the secret that it showed").Because(err)
	case err == nil && value.VersionID == "": // it was deleted meanwhile
		err = fault.New(fault.SecretNotFound, "%s", secret.SkipReason())
	}
	if secret.ARN == "" {
		return seen, value, err
	}
	if err := s.Scope.Admit(secret.ARN, req.ARNPrefix); err != nil {
		return secretstore.Secret{}, secretstore.Value{}, err
	}
	return secret, value, err
}

// addMethods adds the auth methods as listed, and the one that is pinned or recorded where the listing lacks it and
// Datadog shows it.
func (s *Syncer) addMethods(ctx context.Context, snap *snapshot, l *datadog.Listing) error {
	methods, _ := l.Methods()
	id := snap.wantedID()
	if _, found := methods[id]; !found && id != "" {
		m, err := s.AuthMethods.Get(ctx, id)
		switch {
		case err == nil:
			methods = maps.Clone(methods)
			methods[id] = m
		case !datadog.IsNotFound(err):
			return err
		}
	}
	snap.methods = methods
	return nil
}

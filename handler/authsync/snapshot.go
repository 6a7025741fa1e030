package authsync

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
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
	record       secretstore.Record            // the secret's or, where this sync wrote, of that write
	version      string                        // the id of AWSCURRENT
	credential   secretstore.Credential        // its value
	name         string                        // of the auth method: stated, or the default
	methods      map[string]datadog.AuthMethod // by id, as listed; nil: the listing failed
	shared       bool                          // another secret records the same auth method
	verification verification                  // of a token request that ran beside the listing
	skip         string                        // why there is nothing to do; empty: there is
}

// lookUp returns the id of the auth method that is pinned or recorded; empty: none is.
func (snap snapshot) lookUp() string {
	return cmp.Or(snap.credential.AuthMethodID, snap.record.ID)
}

// goneAfter is the age of a record from which Datadog must show the auth method that it names.
const goneAfter = 10 * time.Minute

// gone reports whether the recorded auth method does not exist: the listing lacks it, and a Get answered 404.
func (snap snapshot) gone() bool {
	_, exists := snap.methods[snap.record.ID]
	looked := snap.methods != nil && snap.record.ID != "" && snap.lookUp() == snap.record.ID
	return looked && !exists && snap.at.Sub(snap.record.At) >= goneAfter
}

// movedIn reports whether a later look shows another AWSCURRENT.
func (snap snapshot) movedIn(look secretstore.Secret) bool {
	now := look.Labelled(secretstore.Current)
	return now != "" && snap.version != "" && now != snap.version
}

// overtakenIn reports whether a later look shows that another invocation wrote after the secret was read, or found that
// what was lost is not.
func (snap snapshot) overtakenIn(look secretstore.Secret) bool {
	was, is := snap.record, look.Record
	wrote := was.ID != is.ID || was.Version != is.Version || was.Digest != is.Digest || !was.At.Equal(is.At)
	found := was.State == secretstore.Lost && is.State != secretstore.Lost
	return snap.secret.ARN != "" && (wrote || found)
}

// snapshot reads the value, the labels with the record, and Datadog's auth methods at once. Where the secret states all
// that a token request takes, that runs beside the listing. One Get follows where the listing lacks the auth method that
// is pinned or recorded.
func (s *Syncer) snapshot(ctx context.Context, req Request, earlier []round) (snap snapshot, err error) {
	snap.at = s.Now()
	if err := s.Scope.Admit(req.SecretID, req.ARNPrefix); err != nil {
		return snap, err
	}
	listing, cancel := context.WithCancel(ctx)
	defer cancel()
	listed := make(chan error, 1)
	go func() { listed <- req.Run.Listing.Load(listing) }()

	value, err := s.read(ctx, &snap, req, earlier)
	switch {
	case err == nil && snap.version == "":
		snap.skip = snap.secret.SkipReason()
		return snap, nil
	case err == nil:
		if err = s.parse(&snap, value); err == nil {
			snap.verification = s.verifyEarly(ctx, snap)
		}
	case snap.record.Version == "": // no held credential to ask about
		return snap, err
	}
	if listErr := <-listed; listErr != nil {
		return snap, cmp.Or(err, listErr)
	}
	snap.shared = req.Run.Shared(snap.secret.ARN, snap.secret.Record.ID)
	methods, getErr := s.methods(ctx, req.Run.Listing, snap.lookUp())
	snap.methods = methods
	return snap, cmp.Or(err, getErr)
}

// read reads the secret; with an error, what of it could be read. An event does not count once a look showed what came
// after it.
func (s *Syncer) read(ctx context.Context, snap *snapshot, req Request, earlier []round) (secretstore.Value, error) {
	event := req.Event
	if slices.ContainsFunc(earlier, func(r round) bool { return r.look != nil }) {
		event = Event{}
	}
	secret, value, err := s.Secrets.Read(ctx, req.SecretID, event)
	if len(earlier) > 0 && fault.Is(err, fault.SecretNotFound) {
		err = fault.New(fault.SecretsUnavailable, "Secrets Manager does not show the secret that it showed").Because(err)
	}
	if secret.ARN == "" {
		return value, err
	}
	if err := errors.Join(s.Scope.Admit(secret.Name, req.ARNPrefix), s.Scope.Admit(secret.ARN, req.ARNPrefix)); err != nil {
		return value, err
	}
	snap.secret, snap.record, snap.version = secret, secret.Record, value.VersionID
	if w := lastWrite(earlier); w != nil { // the tag is not written yet
		snap.record = w.record
		snap.record.Refused = secret.Record.Refused
	}
	return value, err
}

// parse reads the credential in value.
func (s *Syncer) parse(snap *snapshot, value secretstore.Value) (err error) {
	name := s.NamePrefix + strings.TrimPrefix(snap.secret.Name, s.Scope.Prefix)
	snap.credential, err = secretstore.ParseCredential(value.Text, name, s.URLs)
	snap.name = cmp.Or(snap.credential.Name, name)
	return err
}

// methods returns the auth methods as listed, with that of id where the listing lacks it and Datadog shows it.
func (s *Syncer) methods(ctx context.Context, l *datadog.Listing, id string) (map[string]datadog.AuthMethod, error) {
	methods, _ := l.Methods()
	if _, found := methods[id]; found || id == "" {
		return methods, nil
	}
	m, err := s.AuthMethods.Get(ctx, id)
	switch {
	case datadog.IsNotFound(err):
		return methods, nil
	case err != nil:
		return nil, err
	}
	methods = maps.Clone(methods)
	methods[id] = m
	return methods, nil
}

package authsync

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
)

const (
	eventOld   = 10 * time.Minute // from then on Secrets Manager is consistent about an event
	secretNew  = time.Minute      // until then a secret that an event names may not be visible
	eventGrain = time.Second      // of an event's time
)

// looks are the waits before each further look at a secret whose reads do not agree, 1.7 s in all.
var looks = []time.Duration{200 * time.Millisecond, 500 * time.Millisecond, time.Second}

// reading is one look at a secret: its labels and, read beside them, the value of AWSCURRENT.
type reading struct {
	secretstore.Secret
	value    secretstore.Value
	noSecret bool
	noValue  bool
}

// read looks at a secret, first at the labels that were seen if any, until the value, the labels and the event name one version, as long as that may help. Secrets
// Manager is eventually consistent, so a look may be older than the event, or the value older than the labels.
func (s *Syncer) read(ctx context.Context, req Request, seen *secretstore.Secret) (reading, error) {
	for look := 0; ; look++ {
		describe := s.Secrets.Describe
		if seen != nil && look == 0 {
			describe = func(context.Context, string) (secretstore.Secret, error) { return *seen, nil }
		}
		r, err := s.look(ctx, req, describe)
		if err != nil {
			return r, err
		}
		if look == len(looks) || !r.mayChange(req.Event, s.Now()) {
			return r, r.conclude(req.Event, s.Now())
		}
		if err := sleep(ctx, looks[look]); err != nil {
			return r, err
		}
	}
}

func (s *Syncer) look(ctx context.Context, req Request, describe func(context.Context, string) (secretstore.Secret, error)) (r reading, err error) {
	both, ctx := errgroup.WithContext(ctx)
	var valueErr error
	both.Go(func() error {
		r.value, valueErr = s.Secrets.Current(ctx, req.SecretID)
		r.noValue = isCode(valueErr, fault.SecretNotFound)
		return nil // the labels say what it means
	})
	both.Go(func() (err error) {
		r.Secret, err = describe(ctx, req.SecretID)
		if r.noSecret = isCode(err, fault.SecretNotFound); r.noSecret {
			return nil
		}
		return err
	})
	if err := both.Wait(); err != nil || r.noSecret {
		return r, err
	}
	if err := errors.Join(s.Scope.Admit(r.Name, req.Home), s.Scope.Admit(r.ARN, req.Home)); err != nil {
		return r, err
	}
	if r.noValue || r.Idle() != "" {
		return r, nil
	}
	return r, valueErr
}

func (r reading) version() string { return r.Labelled(secretstore.Current) }

// consistent: the value and the labels tell of the same version, or both of none.
func (r reading) consistent() bool { return r.version() == r.value.VersionID }

func (r reading) fits(e Event) bool { return e.VersionID == "" || e.VersionID == r.version() }

// Idle says why there is nothing to do for the secret, whatever its value.
func (r reading) Idle() string {
	if why := Idle(r.Secret); why != noCurrent || r.noValue {
		return why
	}
	return "" // the value is newer than the labels
}

const noCurrent = "the secret has no version labelled AWSCURRENT yet"

// Idle says why there is nothing to do for s, or nothing.
func Idle(s secretstore.Secret) string {
	switch {
	case s.Deleted:
		return "the secret is marked for deletion"
	case s.Replica:
		return "the secret is a replica: the function beside its primary does the work"
	case s.Labelled(secretstore.Current) == "":
		return noCurrent
	}
	return ""
}

// mayChange: another look is worth its while, because
//
//  1. an event says that there is a secret where none is seen yet;
//  2. the value and the labels disagree;
//  3. the event names another version, and neither have the labels seen a change after it, nor is it so old that they
//     must have.
func (r reading) mayChange(e Event, now time.Time) bool {
	switch {
	case r.noSecret:
		return e.VersionID != "" && now.Sub(e.Time) < secretNew // 1
	case r.Deleted || r.Replica:
		return false
	case !r.consistent():
		return true // 2
	}
	return !r.fits(e) && r.LastChanged.Before(e.Time.Add(eventGrain)) && now.Sub(e.Time) < eventOld // 3
}

// conclude says whether the last look will do. What it shows may differ from the event's version for good: the labels
// leave out versions that a burst of rotations has overtaken.
func (r reading) conclude(e Event, now time.Time) error {
	young := now.Sub(e.Time) < eventOld
	labels, known := r.Labels[e.VersionID]
	unborn := !known || slices.Contains(labels, secretstore.Pending)
	switch {
	case r.noSecret:
		return fault.New(fault.SecretNotFound, "Secrets Manager has no such secret").
			WithRetry(e.VersionID != "" && now.Sub(e.Time) < secretNew)
	case r.Deleted || r.Replica:
		return nil
	case !r.fits(e) && unborn && young && r.LastChanged.Before(e.Time):
		return fault.New(fault.SecretsUnavailable, "Secrets Manager does not show the event's version yet")
	case r.noValue && r.version() != "":
		return fault.New(fault.SecretsUnavailable, "Secrets Manager does not show the value of AWSCURRENT yet")
	}
	return nil
}

func isCode(err error, code fault.Code) bool {
	return err != nil && fault.From(err).Code == code
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

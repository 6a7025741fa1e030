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

// waits are those before each further look at a secret whose reads do not agree, 1.7 s in all.
var waits = []time.Duration{200 * time.Millisecond, 500 * time.Millisecond, time.Second}

// reading is one look at a secret: its labels and, read beside them, the value of AWSCURRENT.
type reading struct {
	secretstore.Secret
	value    secretstore.Value
	noSecret bool
	noValue  bool
}

// read reads a secret until the value, the labels and the event name one version, as long as that may help. Secrets Manager
// is eventually consistent, so what is read may be older than the event, or the value older than the labels. The first
// labels are those that were seen, if any.
func (s *Syncer) read(ctx context.Context, req Request, seen *secretstore.Secret) (reading, error) {
	for n := 0; ; n++ {
		describe := s.Secrets.Describe
		if seen != nil && n == 0 {
			describe = func(context.Context, string) (secretstore.Secret, error) { return *seen, nil }
		}
		r, err := s.readOnce(ctx, req, describe)
		if err != nil {
			return r, err
		}
		if n == len(waits) || !r.mayChange(req.Event, s.Now()) {
			return r, r.conclude(req.Event, s.Now())
		}
		if err := sleep(ctx, waits[n]); err != nil {
			return r, err
		}
	}
}

func (s *Syncer) readOnce(ctx context.Context, req Request, describe func(context.Context, string) (secretstore.Secret, error)) (r reading, err error) {
	both, ctx := errgroup.WithContext(ctx)
	var valueErr error
	both.Go(func() error {
		r.value, valueErr = s.Secrets.Current(ctx, req.SecretID)
		r.noValue = fault.Is(valueErr, fault.SecretNotFound)
		return nil // the labels say what it means
	})
	both.Go(func() (err error) {
		r.Secret, err = describe(ctx, req.SecretID)
		if r.noSecret = fault.Is(err, fault.SecretNotFound); r.noSecret {
			return nil
		}
		return err
	})
	if err := both.Wait(); err != nil || r.noSecret {
		return r, err
	}
	if err := errors.Join(s.Scope.Admit(r.Name, req.ARNPrefix), s.Scope.Admit(r.ARN, req.ARNPrefix)); err != nil {
		return r, err
	}
	if r.noValue || r.idle() != "" {
		return r, nil
	}
	return r, valueErr
}

func (r reading) version() string { return r.Labelled(secretstore.Current) }

// consistent: the value and the labels tell of the same version, or both of none.
func (r reading) consistent() bool { return r.version() == r.value.VersionID }

func (r reading) fits(e Event) bool { return e.VersionID == "" || e.VersionID == r.version() }

// idle says why there is nothing to do for the secret, if so. A value may be newer than the labels.
func (r reading) idle() string {
	if r.version() == "" && !r.noValue && !r.Deleted && !r.Replica {
		return ""
	}
	return r.Idle()
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

// conclude says whether the last look will do. What it shows may differ from the event's version permanently: the labels
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

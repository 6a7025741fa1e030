package secretstore

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"datadog-webhook-auth-sync/handler/deadline"
	"datadog-webhook-auth-sync/handler/fault"
)

const (
	eventOld   = 10 * time.Minute  // from then on Secrets Manager is consistent about an event
	createdFor = 150 * time.Second // until then a secret that an event names may not be visible
)

// waits before each further read of a secret whose value, labels and event do not agree: 1.7 s in all.
var waits = []time.Duration{200 * time.Millisecond, 500 * time.Millisecond, time.Second}

// Event is what an event says of AWSCURRENT; zero: there was none.
type Event struct {
	Time      time.Time // in whole seconds
	VersionID string    // that got the label; empty where the event does not say
}

// Read reads the labels and the value of AWSCURRENT, again until both name one version and, where an event under ten
// minutes old names one, that. Secrets Manager is eventually consistent, so either may be older than the event. Then:
//
//  1. no such secret: secret_not_found, retryable under a label event younger than 150 s;
//  2. nothing to do (see Secret.SkipReason): the value is empty;
//  3. the labels are older than a recent event, or the value is missing: secrets_unavailable;
//  4. else the value as it stands, even if the labels still disagree.
//
// Beside an error stands the secret as it was read last; zero: it was not.
func (s *Store) Read(ctx context.Context, id string, event Event) (Secret, Value, error) {
	var secret Secret // as it was read last
	for n := 0; ; n++ {
		read, value, err := s.readOnce(ctx, id)
		if read.ARN != "" {
			secret = read
		}
		age := s.Now().Sub(event.Time)
		current := secret.Labelled(Current)
		named := event.VersionID == "" || event.VersionID == current || age >= eventOld
		agree := named && current == value.VersionID
		missing := fault.Is(err, fault.SecretNotFound)
		awaited := event.VersionID != "" && age < createdFor
		idle := secret.Deleted || secret.Replica
		again := n < len(waits) && (missing && awaited || err == nil && !agree && !idle)
		if again && deadline.Sleep(ctx, waits[n]) {
			continue
		}
		switch {
		case missing:
			err = fault.From(err).WithRetry(awaited) // 1
		case err != nil:
		case idle:
			value = Value{} // 2
		case !agree && age < eventOld && secret.LastChanged.Before(event.Time):
			err = fault.New(fault.SecretsUnavailable, "Secrets Manager does not show the event's version yet") // 3
		case value.VersionID == "" && current != "":
			err = fault.New(fault.SecretsUnavailable, "Secrets Manager does not show the value of AWSCURRENT yet") // 3
		}
		return secret, value, err // 4
	}
}

// readOnce reads labels and value at once. A value that is not there is empty; what else keeps it from being read does
// not matter where there is nothing to do.
func (s *Store) readOnce(ctx context.Context, id string) (secret Secret, value Value, err error) {
	var valueErr error
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		secret, err = s.Describe(ctx, id)
		return err
	})
	both.Go(func() error {
		value, valueErr = s.Current(ctx, id)
		return nil
	})
	err = both.Wait()
	if err == nil && !secret.Deleted && !secret.Replica && !fault.Is(valueErr, fault.SecretNotFound) {
		err = valueErr
	}
	return secret, value, err
}

package handler

import (
	"context"

	"golang.org/x/sync/errgroup"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
)

// readKeys reads Datadog's keys from their secret, or from one secret each.
func readKeys(ctx context.Context, store *secretstore.Store, c Config) (datadog.Keys, error) {
	var api, app secretstore.Value
	both, ctx := errgroup.WithContext(ctx)
	read := func(arn string, into *secretstore.Value) func() error {
		return func() (err error) {
			*into, err = store.Current(ctx, arn)
			return keySecretFault(err)
		}
	}
	both.Go(read(c.APIKeySecretARN, &api))
	if c.AppKeySecretARN != c.APIKeySecretARN {
		both.Go(read(c.AppKeySecretARN, &app))
	}
	if err := both.Wait(); err != nil {
		return datadog.Keys{}, err
	}
	if c.AppKeySecretARN == c.APIKeySecretARN {
		app = api
	}
	return datadog.ParseKeys(api.Text, app.Text)
}

// keySecretFault says of an error that it is about the secret of a key, not the one to sync. One that is not there is a
// matter of Datadog's keys: to whoever asked for a sync, their secret is.
func keySecretFault(err error) error {
	if err == nil {
		return nil
	}
	e := fault.From(err)
	code := e.Code
	if code == fault.SecretNotFound || code == fault.BadRequest {
		code = fault.DatadogUnauthorized
	}
	return fault.New(code, "the secret of Datadog's key: %s", e.Message).Because(err)
}

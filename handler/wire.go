package handler

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go/logging"

	"datadog-webhook-auth-sync/handler/authsync"
	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/endpoint"
	"datadog-webhook-auth-sync/handler/eventbus"
	"datadog-webhook-auth-sync/handler/fleet"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

const (
	awsCallTimeout = 5 * time.Second // of one attempt; the SDK makes up to three
	initTimeout    = 9 * time.Second // Lambda gives init 10 s
)

// Outside is what the function reaches beyond itself.
type Outside struct {
	Secrets secretstore.API
	Bus     eventbus.API
	Datadog http.RoundTripper
	Tokens  http.RoundTripper       // to token endpoints
	Role    aws.CredentialsProvider // of the function's role, used where there are no keys: see datadog.Keyless
	Log     io.Writer
}

// OnAWS reaches the real thing, with the credentials and region of the environment.
func OnAWS(ctx context.Context, c Config, out io.Writer) (Outside, error) {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(c.Region),
		config.WithLogger(logging.Nop{}), // the SDK's own quotes headers that it cannot read
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(awsCallTimeout)))
	if err != nil {
		return Outside{}, fmt.Errorf("AWS configuration: %w", err)
	}
	log.SetOutput(withoutBytes{log.Writer()})
	return Outside{
		Secrets: secretsmanager.NewFromConfig(cfg), Bus: eventbridge.NewFromConfig(cfg),
		Datadog: &http.Transport{
			MaxIdleConnsPerHost: fleet.Workers, // which a reconcile keeps busy
			IdleConnTimeout:     90 * time.Second,
		},
		Tokens: tokencheck.Transport(c.AllowLoopback), Role: cfg.Credentials, Log: out,
	}, nil
}

// withoutBytes is the standard logger's output without the bytes that net/http quotes there when a server sends some
// that nobody asked for. They may be a late answer with a secret value.
type withoutBytes struct{ io.Writer }

func (w withoutBytes) Write(line []byte) (int, error) {
	if before, _, found := bytes.Cut(line, []byte(" received on idle HTTP channel starting with ")); found {
		_, err := fmt.Fprintf(w.Writer, "%s received on idle HTTP channel\n", before)
		return len(line), err
	}
	return w.Writer.Write(line)
}

// New wires the function and begins to fetch Datadog's credentials, so that the first invocation finds them.
func New(c Config, o Outside) *Handler {
	store := &secretstore.Store{API: o.Secrets, Region: c.Region, Site: c.Site, OwnerTagKey: c.OwnerTagKey, Now: time.Now}
	var credentials datadog.Credentials = datadog.Keyless{OrgUUID: c.OrgUUID, Role: o.Role}
	if c.OrgUUID == "" {
		read := func(ctx context.Context, arn string) (sensitive.Text, error) {
			value, err := store.Current(ctx, arn)
			return value.Text, err
		}
		credentials = datadog.Stored{APIKeySecret: c.APIKeySecretARN, AppKeySecret: c.AppKeySecretARN, Read: read}
	}
	client := datadog.New(c.APIURL, o.Datadog, credentials)
	syncer := &authsync.Syncer{
		Secrets: store, AuthMethods: client, Bus: &eventbus.Bus{API: o.Bus, Name: c.EventBus},
		Scope: secretstore.Scope{Prefix: c.Prefix, KeyARNs: []string{c.APIKeySecretARN, c.AppKeySecretARN}},
		URLs:  endpoint.Rule{AllowLoopback: c.AllowLoopback, Hosts: c.TokenHosts},
		Site:  c.Site, NamePrefix: c.NamePrefix, Now: time.Now,
	}
	if c.VerifyCredential {
		syncer.Checker = tokencheck.New(o.Tokens)
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), initTimeout)
		defer cancel()
		client.Warm(ctx)
	}()
	listing := datadog.NewListing(client.List, time.Now)
	listing.MaxAge = 10 * time.Second // so that polling cannot use up the organisation's rate limit
	return &Handler{
		syncer: syncer, fleet: &fleet.Fleet{Syncer: syncer, Refresh: c.Refresh, Listing: listing},
		meter: meter{o.Log, c.FunctionName},
		log:   slog.New(slog.NewJSONHandler(o.Log, &slog.HandlerOptions{Level: c.LogLevel})),
	}
}

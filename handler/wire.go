package handler

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"datadog-webhook-auth-sync/handler/authsync"
	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/eventbus"
	"datadog-webhook-auth-sync/handler/fleet"
	"datadog-webhook-auth-sync/handler/secretstore"
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
	Tokens  http.RoundTripper // to token endpoints
	Log     io.Writer
}

// OnAWS reaches the real thing, with the credentials and region of the environment.
func OnAWS(ctx context.Context, c Config, log io.Writer) (Outside, error) {
	aws, err := config.LoadDefaultConfig(ctx, config.WithRegion(c.Region),
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(awsCallTimeout)))
	if err != nil {
		return Outside{}, fmt.Errorf("AWS configuration: %w", err)
	}
	toDatadog := http.DefaultTransport.(*http.Transport).Clone()
	toDatadog.MaxIdleConnsPerHost = fleet.Workers // which a reconcile keeps busy
	return Outside{
		Secrets: secretsmanager.NewFromConfig(aws), Bus: eventbridge.NewFromConfig(aws),
		Datadog: toDatadog, Tokens: tokencheck.Transport(c.AllowLoopback), Log: log,
	}, nil
}

// New wires the function and starts to read Datadog's keys, so that the first invocation finds them read.
func New(c Config, o Outside) *Handler {
	store := secretstore.New(o.Secrets, c.Region, c.Site, time.Now)
	keys := datadog.NewKeyring(func(ctx context.Context) (datadog.Keys, error) { return readKeys(ctx, store, c) })
	scope := authsync.Scope{Prefix: c.Prefix, KeyARNs: []string{c.APIKeySecretARN, c.AppKeySecretARN}}
	syncer := &authsync.Syncer{
		Secrets: store, AuthMethods: datadog.New(c.APIURL, o.Datadog, keys), Bus: eventbus.New(o.Bus, c.EventBus),
		Scope: scope, Site: c.Site, AllowLoopback: c.AllowLoopback, Now: time.Now,
	}
	if c.VerifyCredential {
		syncer.Checker = tokencheck.New(o.Tokens)
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), initTimeout)
		defer cancel()
		keys.Warm(ctx)
	}()
	return &Handler{
		syncer: syncer, fleet: &fleet.Fleet{Syncer: syncer, Secrets: store, Now: time.Now}, versions: store, scope: scope, now: time.Now,
		meter: meter{out: o.Log, functionName: c.FunctionName, now: time.Now},
		log:   slog.New(slog.NewJSONHandler(o.Log, &slog.HandlerOptions{Level: c.LogLevel})),
	}
}

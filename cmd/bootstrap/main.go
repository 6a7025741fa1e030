// Command bootstrap is the Lambda function.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"datadog-webhook-auth-sync/handler"
)

func main() {
	h, err := build(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	lambda.Start(h.Handle)
}

func build(ctx context.Context) (*handler.Handler, error) {
	c, err := handler.ReadConfig(os.Getenv)
	if err != nil {
		return nil, err
	}
	outside, err := handler.OnAWS(ctx, c, os.Stdout)
	if err != nil {
		return nil, err
	}
	return handler.New(c, outside), nil
}

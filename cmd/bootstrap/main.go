// Command bootstrap is the Lambda function.
package main

import (
	"context"
	"log"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"datadog-webhook-auth-sync/handler"
)

func main() {
	c, err := handler.ReadConfig(os.Getenv)
	if err != nil {
		log.Fatal(err)
	}
	outside, err := handler.OnAWS(context.Background(), c, os.Stdout)
	if err != nil {
		log.Fatal(err)
	}
	lambda.Start(handler.New(c, outside).Handle)
}

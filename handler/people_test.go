package handler_test

// What people and other programs do: teams store, rotate and revoke client secrets, operators tag, and somebody edits
// auth methods in Datadog's UI.

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
)

// setRecord is what an operator does who edits the tag; empty: who takes it off.
func (w *world) setRecord(tag string) {
	if w.secrets.Untag(secretName, secretstore.RecordTag); tag != "" {
		w.secrets.Tag(secretName, secretstore.RecordTag, tag)
	}
}

// create makes secretName, with a client secret that works.
func (w *world) create() (value string) {
	value = w.value("first-of-all")
	w.secrets.Create(secretName, value)
	return value
}

func (w *world) createSettled() (value string) {
	w.t.Helper()
	value = w.create()
	w.settle(1)
	return value
}

func (w *world) createManySettled(n int) {
	w.t.Helper()
	for i := range n {
		w.secrets.Create(nameOf(i), w.numbered(i, "first"))
	}
	w.settle(n)
}

func (w *world) settle(n int) {
	w.t.Helper()
	if got := w.reconcile(); got.Outcomes[report.Created] != n {
		w.t.Fatalf("first reconcile: %+v", got)
	}
	time.Sleep(11 * time.Minute)
	if got := w.reconcile(); got.Outcomes[report.Settled] != n {
		w.t.Fatalf("second reconcile: %+v", got)
	}
	w.newResults()
}

// createIdle makes secrets that are out of scope, or for which there is nothing to do.
func (w *world) createIdle() {
	w.secrets.Create("elsewhere/payments", "{}")
	w.secrets.Create(secretName+"-without-version", "")
	w.secrets.Create(secretName+"-replica", "{}")
	w.secrets.SetPrimaryRegion(secretName+"-replica", "eu-west-1")
	w.secrets.Create(secretName+"-deleted", "{}")
	w.secrets.Delete(secretName + "-deleted")
}

func nameOf(i int) string { return fmt.Sprintf("%s-%d", secretName, i) }

// numbered is a value of the secret nameOf(i).
func (w *world) numbered(i int, clientSecret string) string {
	return w.value(fmt.Sprintf("%s-of-%d", clientSecret, i), fmt.Sprintf("name=method %d", i))
}

// put stores another version of secretName, whose client secret works.
func (w *world) put(clientSecret string, fields ...string) (value string) {
	value = w.value(clientSecret, fields...)
	w.secrets.Put(secretName, value)
	return value
}

// putRejected stores a version of secretName that the identity provider does not know.
func (w *world) putRejected(clientSecret string) (value string) {
	value = w.value(clientSecret)
	w.revoke(value)
	w.secrets.Put(secretName, value)
	return value
}

// revoke has the identity provider reject what value holds.
func (w *world) revoke(value string) { w.tokens.Revoke("payments-client", secretIn(value)) }

// mustHold fails unless Datadog holds AWSCURRENT in the one auth method that there is.
func (w *world) mustHold(when string) {
	w.t.Helper()
	if _, value := w.secrets.Current(secretName); w.holds() != secretIn(value) {
		w.t.Errorf("%s: Datadog does not hold AWSCURRENT", when)
	}
}

// holds is the client secret in the one auth method that there is.
func (w *world) holds() string {
	w.t.Helper()
	return w.method().ClientSecret
}

// method is the one auth method that there is.
func (w *world) method() datadogtest.AuthMethod {
	w.t.Helper()
	methods := w.datadog.AuthMethods()
	if len(methods) != 1 {
		w.t.Fatalf("Datadog holds %d auth methods; want 1", len(methods))
	}
	return methods[0]
}

// editMethod changes it in Datadog's UI.
func (w *world) editMethod(edit func(m *datadogtest.AuthMethod)) {
	w.t.Helper()
	m := w.method()
	edit(&m)
	w.datadog.Put(m)
}

// deleteMethods deletes what these secrets record in Datadog's UI.
func (w *world) deleteMethods(names ...string) {
	for _, name := range names {
		w.datadog.Delete(w.record(name)["id"])
	}
}

// datadogHolds makes an auth method in Datadog's UI.
func (w *world) datadogHolds(name, clientID string) datadogtest.AuthMethod {
	return w.datadog.Put(datadogtest.AuthMethod{Name: name, ClientID: clientID, ClientSecret: "unknown",
		AccessTokenURL: tokenURL})
}

// purge deletes secretName without recovery.
func (w *world) purge() {
	_, err := w.secrets.DeleteSecret(context.Background(), &secretsmanager.DeleteSecretInput{
		SecretId: aws.String(secretName), ForceDeleteWithoutRecovery: aws.Bool(true)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.secrets.ResetCalls()
}

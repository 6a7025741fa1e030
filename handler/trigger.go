package handler

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/aws/aws-lambda-go/events"

	"datadog-webhook-auth-sync/handler/authsync"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/fleet"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/strictjson"
)

// What a payload can be.
type (
	eventSync  struct{ request authsync.Request } // of EventBridge: nobody waits for an answer
	directSync struct{ request authsync.Request } // of lambda:Invoke
	reconcile  struct{ request authsync.Request } // direct, or scheduled
	status     struct{ request fleet.StatusRequest }
	ignored    struct{ why string } // an event that is no reason to act
	unknown    struct{ why string } // an event that is none of ours: a retry would change nothing
	// and httpRequest, rotationStep, and *fault.Error for what is none of these
)

// recognise tells what a payload is by the fields that only such a payload has, never by what happens to decode.
func recognise(payload []byte) any {
	p, err := strictjson.Object(payload)
	if err != nil {
		return fault.New(fault.UnsupportedEvent, "the payload is %v", err)
	}
	has := func(name string) bool { return p[name] != nil && !strictjson.Null(p[name]) }
	var context struct {
		HTTP json.RawMessage `json:"http"`
		ELB  json.RawMessage `json:"elb"`
	}
	_ = json.Unmarshal(p["requestContext"], &context)
	version, _ := strictjson.String(p["version"])
	switch {
	case has("source") && has("detail-type"):
		return recogniseEvent(payload)
	case has("Step") && has("ClientRequestToken"):
		return recogniseRotation(p)
	case version == "2.0" && context.HTTP != nil:
		return recogniseHTTP(payload, true)
	case has("httpMethod") && has("requestContext") && context.ELB == nil:
		return recogniseHTTP(payload, false)
	case has("action"):
		return recogniseAction(p)
	}
	return fault.New(fault.UnsupportedEvent, "the payload has none of the fields that tell one kind from another")
}

// ebEvent is an EventBridge event about Secrets Manager: its own, or CloudTrail's.
// https://docs.aws.amazon.com/secretsmanager/latest/userguide/monitoring-eventbridge.html
type ebEvent struct{ events.EventBridgeEvent }

func recogniseEvent(payload []byte) any {
	var e ebEvent
	if json.Unmarshal(payload, &e.EventBridgeEvent) != nil {
		return unknown{"the EventBridge event is malformed"}
	}
	if e.Source != "aws.secretsmanager" {
		return unknown{"the EventBridge event is not one of Secrets Manager's"}
	}
	switch e.DetailType {
	case "Secret Label Updated":
		return e.label()
	case "AWS Service Event via CloudTrail", "AWS API Call via CloudTrail":
		return e.cloudTrail()
	}
	return unknown{"the EventBridge event is of a detail-type that this function does not know"}
}

func (e ebEvent) label() any {
	var detail struct {
		LabelUpdated string `json:"labelUpdated"`
		VersionID    string `json:"versionId"`
	}
	if json.Unmarshal(e.Detail, &detail) != nil || len(e.Resources) == 0 {
		return unknown{"the label event is malformed"}
	}
	if detail.LabelUpdated != "AWSCURRENT" {
		return ignored{"another label than AWSCURRENT moved"}
	}
	return e.sync("label", e.Resources[0], detail.VersionID)
}

func (e ebEvent) sync(kind, secretID, versionID string) eventSync {
	return eventSync{authsync.Request{SecretID: secretID, Trigger: report.Trigger{Type: kind, ID: e.ID},
		Event: authsync.Event{Time: e.Time, VersionID: versionID}}}
}

// quiet are write calls after which AWSCURRENT is what it was, or is gone.
var quiet = []string{"TagResource", "UntagResource", "DeleteSecret"}

func (e ebEvent) cloudTrail() any {
	var detail struct {
		EventName           string          `json:"eventName"`
		ReadOnly            bool            `json:"readOnly"`
		ErrorCode           string          `json:"errorCode"`
		AdditionalEventData json.RawMessage `json:"additionalEventData"`
		ServiceEventDetails json.RawMessage `json:"serviceEventDetails"`
		ResponseElements    json.RawMessage `json:"responseElements"`
		RequestParameters   json.RawMessage `json:"requestParameters"`
	}
	if json.Unmarshal(e.Detail, &detail) != nil {
		return unknown{"the CloudTrail event is malformed"}
	}
	switch {
	case detail.ReadOnly, detail.ErrorCode != "", slices.Contains(quiet, detail.EventName),
		strings.HasPrefix(detail.EventName, "Rotation") && detail.EventName != "RotationSucceeded":
		return ignored{"the recorded call does not move AWSCURRENT"}
	}
	id := cmp.Or(append(e.Resources, "")[0],
		member(detail.AdditionalEventData, "secretId"), member(detail.ServiceEventDetails, "secretId"), member(detail.ResponseElements, "arn"),
		member(detail.RequestParameters, "secretId"), member(detail.RequestParameters, "name"))
	if id == "" {
		return ignored{"the recorded call names no secret"}
	}
	return e.sync("cloudtrail", id, "")
}

// member is a string in an object, by its name in whatever case: CloudTrail spells it differently from call to call. It is
// empty where there is none, and some calls have no object there.
func member(object json.RawMessage, name string) string {
	var members map[string]json.RawMessage
	_ = json.Unmarshal(object, &members)
	for spelt, raw := range members {
		if value, ok := strictjson.String(raw); ok && strings.EqualFold(spelt, name) {
			return value
		}
	}
	return ""
}

func recogniseAction(p map[string]json.RawMessage) any {
	action, _ := strictjson.String(p["action"])
	delete(p, "action")
	switch action {
	case "sync":
		r, err := syncRequest(p)
		if err != nil {
			return err
		}
		r.Trigger.Type = "direct"
		return directSync{r}
	case "reconcile":
		dryRun, ok := boolean(p["dryRun"])
		if delete(p, "dryRun"); !ok || len(p) > 0 {
			return fault.New(fault.BadRequest, "reconcile takes nothing but dryRun, true or false")
		}
		return reconcile{authsync.Request{DryRun: dryRun}}
	case "status":
		query := map[string]string{}
		for name, raw := range p {
			query[name], _ = strictjson.String(raw) // what is no string is empty, and so refused
		}
		r, err := statusRequest(query)
		if err != nil {
			return err
		}
		return status{r}
	}
	return fault.New(fault.UnsupportedEvent, "the action is none that this function knows: sync, reconcile, status")
}

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
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/strictjson"
)

// What a payload can be, besides an httpRequest, a rotationStep and, for any other, a *fault.Error.
type (
	eventSync  struct{ request authsync.Request } // from EventBridge: nobody waits for the answer
	directSync struct{ request authsync.Request }
	reconcile  struct{ request authsync.Request } // direct or scheduled
	status     struct{ request fleet.StatusRequest }
	ignored    struct{ why string } // an event after which AWSCURRENT is what it was
	unknown    struct{ why string } // an unsupported EventBridge event
)

// recognise decodes a payload by the fields that only its kind has.
func recognise(payload []byte) any {
	p, err := strictjson.Object(payload)
	if err != nil {
		return fault.New(fault.UnsupportedEvent, "the payload is %v", err)
	}
	has := func(name string) bool { return p[name] != nil && !strictjson.Null(p[name]) }
	var context struct {
		HTTP, ELB *json.RawMessage
	}
	_ = json.Unmarshal(p["requestContext"], &context)
	version, _ := strictjson.String(p["version"])
	switch {
	case has("source") && has("detail-type"):
		return recogniseEvent(payload)
	case has("Step") && has("ClientRequestToken"):
		return recogniseRotation(p)
	case version == "2.0" && context.HTTP != nil,
		has("httpMethod") && has("requestContext") && context.ELB == nil:
		return recogniseHTTP(payload)
	case has("action"):
		return recogniseAction(p)
	}
	return fault.New(fault.UnsupportedEvent, "the payload is of no known kind")
}

func recogniseEvent(payload []byte) any {
	var e events.EventBridgeEvent
	switch {
	case json.Unmarshal(payload, &e) != nil:
		return unknown{"the EventBridge event is malformed"}
	case e.Source != "aws.secretsmanager":
		return unknown{"the EventBridge event is not from Secrets Manager"}
	case e.DetailType == "Secret Label Updated":
		return recogniseLabel(e)
	case e.DetailType == "AWS Service Event via CloudTrail", e.DetailType == "AWS API Call via CloudTrail":
		return recogniseCloudTrail(e)
	}
	return unknown{"the EventBridge event has an unknown detail-type"}
}

// recogniseLabel decodes the event that Secrets Manager sends when any label but AWSPENDING and AWSPREVIOUS moves.
// https://docs.aws.amazon.com/secretsmanager/latest/userguide/secret-event-notifications.html
func recogniseLabel(e events.EventBridgeEvent) any {
	var detail struct {
		LabelUpdated string `json:"labelUpdated"`
		VersionID    string `json:"versionId"`
	}
	switch {
	case json.Unmarshal(e.Detail, &detail) != nil:
		return unknown{"the label event is malformed"}
	case detail.LabelUpdated != "AWSCURRENT":
		return ignored{"another label than AWSCURRENT moved"}
	case firstResource(e) == "":
		return unknown{"the label event names no secret"}
	}
	return syncOf(e, "label", firstResource(e), detail.VersionID)
}

// recogniseCloudTrail decodes a recorded call, or a rotation's end.
// https://docs.aws.amazon.com/secretsmanager/latest/userguide/cloudtrail_log_entries.html
func recogniseCloudTrail(e events.EventBridgeEvent) any {
	var detail struct {
		EventName           string `json:"eventName"`
		ReadOnly            bool   `json:"readOnly"`
		ErrorCode           string `json:"errorCode"`
		AdditionalEventData any    `json:"additionalEventData"`
		ServiceEventDetails any    `json:"serviceEventDetails"`
		ResponseElements    any    `json:"responseElements"`
		RequestParameters   any    `json:"requestParameters"`
	}
	if json.Unmarshal(e.Detail, &detail) != nil {
		return unknown{"the CloudTrail event is malformed"}
	}
	if detail.ReadOnly || detail.ErrorCode != "" || leavesCurrent(detail.EventName) {
		return ignored{"the recorded call does not move AWSCURRENT"}
	}
	id := cmp.Or(firstResource(e),
		member(detail.AdditionalEventData, "SecretId"),
		member(detail.ServiceEventDetails, "secretId"),
		member(detail.ResponseElements, "arn", "aRN", "ARN"),
		member(detail.RequestParameters, "secretId", "name"))
	if id == "" {
		return ignored{"the recorded call names no secret"}
	}
	return syncOf(e, "cloudtrail", id, "")
}

func syncOf(e events.EventBridgeEvent, trigger, secretID, versionID string) eventSync {
	return eventSync{authsync.Request{
		SecretID: secretID,
		Trigger:  report.Trigger{Type: trigger, ID: e.ID},
		Event:    secretstore.Event{Time: e.Time, VersionID: versionID},
	}}
}

func firstResource(e events.EventBridgeEvent) string {
	if len(e.Resources) == 0 {
		return ""
	}
	return e.Resources[0]
}

// leavesCurrent reports whether an event of this name leaves AWSCURRENT as it is, or removes the secret. Of a rotation
// only RotationSucceeded moves it, not RotationStarted, RotationFailed or TestRotationSucceeded.
func leavesCurrent(eventName string) bool {
	others := []string{"TagResource", "UntagResource", "DeleteSecret"}
	rotation := strings.Contains(eventName, "Rotation") && eventName != "RotationSucceeded"
	return rotation || slices.Contains(others, eventName)
}

// member returns the first of the named strings of an object that is not empty. Some calls have no object there.
func member(object any, names ...string) string {
	members, _ := object.(map[string]any)
	for _, name := range names {
		if s, _ := members[name].(string); s != "" {
			return s
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
			return fault.New(fault.BadRequest, "reconcile takes only dryRun, true or false")
		}
		return reconcile{authsync.Request{DryRun: dryRun}}
	case "status":
		query := map[string]string{}
		for name, raw := range p {
			query[name], _ = strictjson.String(raw) // empty, and so refused, if it is no string
		}
		r, err := statusRequest(query)
		if err != nil {
			return err
		}
		return status{r}
	}
	return fault.New(fault.UnsupportedEvent, "the action is none of sync, reconcile and status")
}

# shellcheck shell=bash
# Functions for docs/operations.md and docs/onboarding.md, to be sourced by bash:
#
#     . docs/ops.sh
#
# They need the AWS CLI (1 or 2), jq and curl, and credentials of the stack's account and region. Those whose name
# begins with an underscore are for the others; some print a secret value or a key. No value is ever an argument of a
# process. Where a body is in ( ), each command of a pipe must succeed.

STACK=${STACK:-datadog-webhook-auth-sync}

# The stack

output() { # output NAME: an output of the stack
  aws cloudformation describe-stacks --stack-name "$STACK" --output text \
    --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue"
}

parameter() { # parameter NAME: a parameter's value
  aws cloudformation describe-stacks --stack-name "$STACK" --output text \
    --query "Stacks[0].Parameters[?ParameterKey=='$1'].ParameterValue"
}

resource() { # resource LOGICAL-ID: the name of one of the stack's resources
  aws cloudformation describe-stack-resource --stack-name "$STACK" --logical-resource-id "$1" \
    --query StackResourceDetail.PhysicalResourceId --output text
}

set_parameter() ( # set_parameter NAME=VALUE…: updates the stack as it is deployed; all other parameters stay
  set -o pipefail
  parameters=$(aws cloudformation describe-stacks --stack-name "$STACK" --query 'Stacks[0].Parameters' --output json |
    jq -c '[$ARGS.positional[] | index("=") as $at | {ParameterKey: .[:$at], ParameterValue: .[$at + 1:]}] as $new |
      map({ParameterKey, UsePreviousValue: true} | select(.ParameterKey | IN($new[].ParameterKey) | not)) + $new
      ' --args "$@") || return
  aws cloudformation update-stack --stack-name "$STACK" --use-previous-template --parameters "$parameters" \
    --capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND --query StackId --output text || return
  aws cloudformation wait stack-update-complete --stack-name "$STACK"
)

# check_stack: whether the function reaches Datadog, what starts it, and who is notified. It fails, after the line that
# says why, if Datadog is not reached, a rule or the schedule is switched off, an alarm does not notify, or nobody is
# subscribed.
check_stack() {
  local answer state page failed=0
  answer=$(ask '{"action": "reconcile", "dryRun": true}') || return
  jq -r '"Datadog: \(.error.message // "lists auth methods; \(.secrets) secrets in scope")"' <<<"$answer"
  _rules || failed=1
  if [ "$(parameter ReconcileSchedule)" = none ]; then
    echo "schedule: NONE: what an event misses is not repaired, and nothing settles"
  else
    state=$(aws scheduler get-schedule --group-name "$(resource ScheduleGroup)" --name "$(resource Schedule)" \
      --query State --output text) || return
    echo "schedule: $state"
    [ "$state" = ENABLED ] || failed=1
  fi
  _alarms || failed=1
  _subscribers topic "$(output AlarmTopicArn)" || failed=1
  page=$(parameter PageTopicArn)
  [ -z "$page" ] || [ "$page" = None ] || _subscribers "page topic" "$page" || failed=1
  _check "$answer" && return "$failed"
}

_resources() { # _resources TYPE: the stack's resources of that type, one a line: logical id, name
  aws cloudformation list-stack-resources --stack-name "$STACK" --output text \
    --query "StackResourceSummaries[?ResourceType=='$1'].[LogicalResourceId, PhysicalResourceId]"
}

_rules() { # the state of each rule, as Enabled or somebody since set it; fails if one is not enabled
  local rules rule name bus bus_of_results state but failed=0
  rules=$(_resources AWS::Events::Rule) && bus_of_results=$(parameter EventBusName) || return
  case $bus_of_results in arn:*)
    echo "notices: NONE, unless $bus_of_results sends the results back to this account's default bus"
    bus_of_results=default ;;
  esac
  while read -r rule name; do
    case $rule in
      NoticeRule | PageRule) bus=$bus_of_results but="NO NOTICE COMES" ;;
      *) bus=default but="NO ROTATION STARTS THE FUNCTION" ;;
    esac
    state=$(aws events describe-rule --event-bus-name "$bus" --name "${name##*|}" --query State --output text)
    case $state in ENABLED*) but= ;; *) failed=1 ;; esac
    echo "rule $rule: ${state:-missing}${but:+: $but}"
  done <<<"$rules"
  return "$failed"
}

_alarms() ( # how many alarms there are; fails if one has its actions switched off, or is missing
  set -o pipefail
  names=$(_resources AWS::CloudWatch::Alarm | cut -f 2) || return
  # shellcheck disable=SC2086 # no name has a space
  aws cloudwatch describe-alarms --alarm-names $names --output json | jq -r --arg names "$names" '
    ($names | split("\n")) as $all | ($all - [.MetricAlarms[] | select(.ActionsEnabled).AlarmName]) as $off |
    "alarms: \($all | length)", ($off[] | "alarm \(.): DOES NOT NOTIFY"),
    if $off == [] then empty else "" | halt_error(1) end'
)

_subscribers() { # _subscribers NAME TOPIC-ARN: who is subscribed; fails if nobody is, or only unconfirmed
  local all
  all=$(aws sns list-subscriptions-by-topic --topic-arn "$2" --output json) || return
  jq -r --arg name "$1" '.Subscriptions[] |
    (if .SubscriptionArn == "PendingConfirmation" then ", not confirmed" else "" end) as $but |
    "\($name): \(.Endpoint)\($but)"' <<<"$all"
  jq -e '.Subscriptions | any(.SubscriptionArn != "PendingConfirmation")' <<<"$all" >/dev/null ||
    { echo "$1: NOBODY IS NOTIFIED" && return 1; }
}

# test_notice [ALARM]: plays FailingAlarm, or another by its logical id, until its next data come; and puts a made-up
# failure on the bus, which becomes a notice and a page. It prints what must arrive where.
test_notice() {
  local alarm state topic bus page entry text="A test by the operator. Nothing is wrong."
  alarm=$(resource "${1:-FailingAlarm}") || return
  read -r state topic <<<"$(aws cloudwatch describe-alarms --alarm-names "$alarm" --output text \
    --query 'MetricAlarms[0].[StateValue, AlarmActions[0]]')"
  aws cloudwatch set-alarm-state --alarm-name "$alarm" --state-value ALARM --state-reason "$text" || return
  bus=$(parameter EventBusName) || return
  entry=$(jq -nc --arg bus "$bus" --arg text "$text" '{schemaVersion: "1", outcome: "failed", secret: {name: "test"},
    trigger: {type: "direct", id: "test"}, requestId: "test", previousSecretSafeToRevoke: false, durationMs: 0,
    verification: "rejected", held: {versionId: "test", verification: "rejected"},
    error: {code: "credential_rejected", message: "a test", retryable: true}, summary: $text} |
    [{EventBusName: $bus, Source: "datadog-webhook-auth-sync", DetailType: "Datadog Auth Method Sync Failed",
      Detail: tojson}]') || return
  if [ "$(aws events put-events --entries "$entry" --query FailedEntryCount --output text)" != 0 ]; then
    echo "test_notice: the event bus $bus did not take the event" >&2
    return 1
  fi
  echo "Within a minute these must arrive:"
  if [ "$state" = ALARM ]; then
    echo "no alarm: $alarm is ringing already, and notifies when it begins to. Try another: test_notice RepairedAlarm"
  else
    echo "the alarm $alarm, at $topic"
  fi
  page=$(parameter PageTopicArn)
  [ "$page" != None ] || page=
  echo "a line with \"$text\", at $(output AlarmTopicArn)${page:+, and the same at $page}"
}

# The function

ask() { # ask JSON: what the function answers to a direct call; fails with its error
  local name answer status=0
  name=$(output FunctionName) || return
  answer=$(mktemp) || return
  printf %s "$1" >"$answer" # first the payload: fileb:// means the same to both versions of the AWS CLI
  aws lambda invoke --function-name "$name" --cli-read-timeout 130 --payload "fileb://$answer" "$answer" >/dev/null &&
    jq 'if .errorMessage? then "\(.errorMessage)\n" | halt_error(1) else . end' "$answer" || status=$?
  rm -f "$answer"
  return "$status"
}

_check() { # _check ANSWER: fails with the error that ended a reconcile
  jq -r '.error // empty | "\(.code): \(.message)\n" | halt_error(1)' <<<"$1"
}

sync_secret() { # sync_secret SECRET [dry]: syncs it, or says what a sync would do
  local dry=false answer
  [ "${2:-}" != dry ] || dry=true
  answer=$(ask "$(jq -nc --arg id "$1" --argjson dry "$dry" '{action: "sync", secretId: $id, dryRun: $dry}')") || return
  jq -r '.summary, (.warnings[]? | "warning: " + .)' <<<"$answer"
}

# reconcile: tries again whatever is out of sync, counts, and says whether alerts are being lost. It does not ask about
# secrets in sync: these were verified when they were last pushed.
reconcile() {
  local answer
  answer=$(ask '{"action": "reconcile"}') || return
  jq '{alerts: (
      if .atRisk > 0 then "BEING LOST NOW: out_of_sync names the secrets"
      elif .error then "not known, and perhaps being lost: \(.error.message)"
      elif .outOfSync + .failing + .leftOver > 0
      then "none known. Not known of \([.outOfSync, .failing, .leftOver] | max): see failures, and out_of_sync. " +
        "Of the others none when last verified: at most RefreshHours ago"
      else "none when last verified: at most RefreshHours ago. To verify one now: sync_secret SECRET" end),
    secrets, inSync, settling, outOfSync, outcomes, failing, atRisk, leftOver, error,
    failures: [.failures[]?.summary]}' <<<"$answer"
  _check "$answer"
}

plan() { # what a reconcile would do, and what no secret manages: secret, action or code, auth method, message
  local answer
  answer=$(ask '{"action": "reconcile", "dryRun": true}') || return
  jq -r '(.error // empty | ["-", .code, "-", .message]),
    (.plans[]?, .failures[]? | [.secret.name, .plan.action // .error.code, .authMethod.name // "-",
      .error.message // ([.plan.changes[].attribute] | join(", "))]),
    (.unmanaged[]? | ["-", "unmanaged", .name, .id]) | @tsv' <<<"$answer" | _table
  _check "$answer"
}

status() { # status SECRET: one secret's status
  local answer
  answer=$(ask "$(jq -nc --arg id "$1" '{action: "status", secretId: $id}')") || return
  jq '.secrets[]' <<<"$answer"
}

statuses() { # statuses [STATE]: the status of each secret, or of each in that state, one a line
  local page token=
  while
    page=$(ask "$(jq -nc --arg state "${1:-}" --arg token "$token" \
      '{action: "status", state: $state, nextToken: $token} | with_entries(select(.value != ""))')") || return
    jq -c '.secrets[]' <<<"$page"
    token=$(jq -r '.nextToken // ""' <<<"$page")
    [ "$token" ]
  do :; done
}

# out_of_sync: what is out of sync, as a table: secret, reason, code, since, and LOST where alerts are being lost. If
# the function or Datadog does not answer, it fails, and the table has the failures that the secrets' tags record.
out_of_sync() {
  local all prefix
  if all=$(statuses out_of_sync); then
    jq -r '[.secret.name, .reasons[0], .failing.code // "-", .failing.since // "-",
      if .failing.lost then "LOST" elif .reasons | index("auth_method_missing") then "LOST?" else "-" end] | @tsv
      ' <<<"$all" | _table
    return
  fi
  prefix=$(parameter SecretNamePrefix) || return
  echo "out_of_sync: more alerts may be being lost than these, which are recorded on the secrets:" >&2
  aws secretsmanager list-secrets --filters "Key=name,Values=$prefix" --output json | jq -r '
    .SecretList[] | .Name as $name | .Tags[]? | select(.Key == "datadog-webhook-auth-sync").Value |
    [splits(" ") | index("=") as $at | {(.[:$at]): .[$at + 1:]}] | add |
    select(.lost // .failing // .waiting) |
    [$name, "failing", .lost // .failing // .waiting, .since // "-", if .lost then "LOST" else "-" end] | @tsv' | _table
  return 1
}

broken() ( # the dashboard's panel "What is broken now"
  set -o pipefail
  dashboard=$(output DashboardUrl) && group=$(resource LogGroup) || return
  query=$(aws cloudwatch get-dashboard --dashboard-name "${dashboard##*/}" --query DashboardBody --output text | jq -r '
    .widgets[].properties | select(.title == "What is broken now").query | sub("^SOURCE .*? \\| "; "")') || return
  id=$(aws logs start-query --log-group-name "$group" --query-string "$query" \
    --start-time $(($(date +%s) - 86400)) --end-time "$(date +%s)" --query queryId --output text) || return
  while
    answer=$(aws logs get-query-results --query-id "$id" --output json) || return
    state=$(jq -r .status <<<"$answer")
    [ "$state" = Scheduled ] || [ "$state" = Running ]
  do sleep 1; done
  if [ "$state" != Complete ]; then
    echo "broken: the query ended as $state" >&2
    return 1
  fi
  jq -r '.results[] | map(select(.field != "@ptr").value) | @tsv' <<<"$answer" | _table
)

# logged PATTERN: the last day's syncs whose line in the log matches, as a table: time, secret, version, outcome,
# trigger, lagMs, code, and what happened.
logged() (
  set -o pipefail
  group=$(resource LogGroup) || return
  aws logs filter-log-events --log-group-name "$group" --filter-pattern "$1" \
    --start-time $((($(date +%s) - 86400) * 1000)) --query 'events[].message' --output json |
    jq -r '.[] | fromjson? | select(.time) | (.summary // "") as $summary |
      [.time, .secret.name // "-", .secret.versionId[:8]? // "-",
      (.outcome // "-") + if .repaired then ", repaired" else "" end,
      .trigger.type // "-", .lagMs // "-", .error.code // "-",
      ([$summary, (.error.message // empty | select(inside($summary) | not)), .warnings[]?] | join(" "))] | @tsv
      ' | _table
)

# _table: in columns, without what a terminal would obey.
_table() { jq -Rr 'gsub("(?!\t)[\\p{Cc}\\p{Cf}]"; "")' | column -t -s $'\t'; }

# Secrets

_value() { # _value SECRET [LABEL]
  aws secretsmanager get-secret-value --secret-id "$1" --version-stage "${2:-AWSCURRENT}" \
    --query SecretString --output text
}

put_value() { # put_value SECRET [LABEL] <VALUE: stores what it reads as a new version, and prints the version's id
  local value
  value=$(cat)
  if [ -z "$value" ]; then
    echo "put_value: no value, so nothing was stored" >&2
    return 1
  fi
  printf %s "$value" | aws secretsmanager put-secret-value --secret-id "$1" --version-stages "${2:-AWSCURRENT}" \
    --secret-string file:///dev/stdin --query VersionId --output text
}

change() ( # change SECRET JQ-FILTER [JQ-OPTION…]: stores the filtered value, and prints nothing of it
  set -o pipefail
  secret=$1 filter=$2
  shift 2
  value=$(_value "$secret" | jq "$@" "$filter") || return
  printf %s "$value" | put_value "$secret"
)

store_client_secret() ( # store_client_secret SECRET FILE [LABEL]: all else stays as it is; plain-text secrets too
  set -o pipefail
  value=$(_value "$1" | jq -Rrs --rawfile new "$2" '($new | sub("[\r\n]+$"; "")) as $new |
    if $new | test("^\\s*$") then "store_client_secret: no client secret, so nothing was stored\n" | halt_error(1)
    elif test("^\\s*[{]") then fromjson | .[if has("clientSecret") then "clientSecret" else "client_secret" end] = $new
    else $new end') || return
  printf %s "$value" | put_value "$1" "${3:-AWSCURRENT}"
)

version_id() { # version_id SECRET LABEL
  aws secretsmanager list-secret-version-ids --secret-id "$1" --output text \
    --query "Versions[?contains(VersionStages, '$2')].VersionId"
}

go_back() { # go_back SECRET: the version before is AWSCURRENT again
  aws secretsmanager update-secret-version-stage --secret-id "$1" --version-stage AWSCURRENT \
    --move-to-version-id "$(version_id "$1" AWSPREVIOUS)" --remove-from-version-id "$(version_id "$1" AWSCURRENT)" \
    --query Name --output text
}

may_retire() { # may_retire SECRET: whether client secrets older than AWSCURRENT may be revoked; fails if not yet
  local verify status
  verify=$(parameter VerifyCredential) && status=$(status "$1") || return
  jq -r --arg verify "$verify" '
    if $verify != "true" then "not known: VerifyCredential is \($verify)\n" | halt_error(1)
    elif .settled and .state == "in_sync" and .recordedVersionId == .secret.versionId
    then "yes: Datadog holds AWSCURRENT, \(.recordedVersionId), and no older write can follow"
    else "not yet: \(.state), \(.reasons // [] | join(", "))\n" | halt_error(1) end' <<<"$status"
}

# rotate SECRET FILE: stages the client secret in FILE, and has the rotation function verify and promote it. It fails if
# the token endpoint refuses it; how the rotation ends is seen by version_id SECRET AWSCURRENT.
rotate() {
  store_client_secret "$1" "$2" NEXT || return
  check_credential "$1" NEXT || [ $? = 2 ] || return
  aws secretsmanager rotate-secret --secret-id "$1" --rotation-lambda-arn "$(output FunctionArn)" \
    --query VersionId --output text
}

use_auth_method() { # use_auth_method SECRET ID: tags the secret with its auth method, which is an operator's word
  if [ -z "${2:-}" ]; then
    echo "use_auth_method: no auth method for $1" >&2
    return 1
  fi
  aws secretsmanager tag-resource --secret-id "$1" --tags "Key=datadog-webhook-auth-sync,Value=id=$2"
}

forget_auth_method() { # forget_auth_method SECRET: takes the tag off
  aws secretsmanager untag-resource --secret-id "$1" --tag-keys datadog-webhook-auth-sync
}

# rename_secret OLD NEW: a new secret with the same auth method, KMS key and tags; the old one goes once it is in sync.
rename_secret() (
  set -o pipefail
  id=$(status "$1" | jq -er '.authMethod.id') || return
  described=$(aws secretsmanager describe-secret --secret-id "$1" --output json) || return
  key=$(jq -r '.KmsKeyId // empty' <<<"$described") || return
  tags=$(jq -c --arg id "id=$id" '[.Tags[]? | select(.Key != "datadog-webhook-auth-sync" and
    (.Key | startswith("aws:") | not))] + [{Key: "datadog-webhook-auth-sync", Value: $id}]' <<<"$described") || return
  value=$(_value "$1") || return
  printf %s "$value" | aws secretsmanager create-secret --name "$2" --secret-string file:///dev/stdin \
    ${key:+--kms-key-id "$key"} --tags "$tags" --query ARN --output text || return
  if sync_secret "$2" && [ "$(status "$2" | jq -r '.authMethod.id')" = "$id" ]; then
    aws secretsmanager delete-secret --secret-id "$1" --recovery-window-in-days 7 --query DeletionDate --output text
  else
    echo "rename_secret: $2 is not in sync: delete it, and $1 goes on as before" >&2
    return 1
  fi
)

# Token endpoints

check_credential() { # check_credential SECRET [LABEL]: works, refused or unknown (exit status 0, 1, 2)
  local credential style answer styles=(header body) refused=() unknown=()
  credential=$(_credential "$1" "${2:-AWSCURRENT}") || return 2
  if printf %s "$credential" | jq -e '(.client_id | contains(":") | not) and
    (.client_id + .client_secret | test("[^A-Za-z0-9_.~-]"))' >/dev/null; then
    styles+=(plain)
  fi
  for style in "${styles[@]}"; do
    answer=$(printf %s "$credential" | _token_request "$style")
    case $answer in
      works*) echo "works: by $style, ${answer#works }" && return ;;
      refused*) refused+=("$style ${answer#refused }") ;;
      *) unknown+=("$style ${answer#unknown }") ;;
    esac
  done
  if [ ${#unknown[@]} = 0 ]; then
    echo "refused: $(_listed "${refused[@]}")"
    return 1
  fi
  echo "unknown: $(_listed "${unknown[@]}" ${refused[@]+"${refused[@]}"})"
  return 2
}

_listed() { printf '%s; ' "$@" | sed 's/; $//'; }

# _credential SECRET LABEL: as JSON; what the secret does not state, from its auth method. A URL that somebody edited in
# Datadog does not get the client secret.
_credential() (
  set -o pipefail
  stated=$(_value "$1" "$2" | jq -Rs 'if test("^\\s*[{]") then fromjson | with_entries(.key |=
    ({clientId: "client_id", clientSecret: "client_secret", accessTokenUrl: "access_token_url"}[.] // .))
    else {client_secret: gsub("^\\s+|\\s+$"; "")} end') || return
  if ! printf %s "$stated" | jq -e '.client_id and .access_token_url' >/dev/null; then
    status=$(status "$1") || return
    id=$(jq -er '.authMethod.id' <<<"$status") || return
    if jq -e '.reasons | index("attributes_differ")' <<<"$status" >/dev/null &&
      ! printf %s "$stated" | jq -e .access_token_url >/dev/null; then
      echo "check_credential: auth method $id was edited in Datadog: state access_token_url in the secret" >&2
      return 1
    fi
    stated=$({ printf %s "$stated"; auth_methods; } | jq -s --arg id "$id" \
      '.[0] as $stated | (.[1][] | select(.id == $id).attributes) + $stated') || return
  fi
  printf %s "$stated"
)

# _token_request STYLE <CREDENTIAL: one client_credentials request, and what came of it. The client authenticates in the
# header (encoded as RFC 6749, 2.3.1, says), in the body, or in the header as it is (plain).
_token_request() {
  jq -r --arg style "$1" 'def form: @uri | gsub("%20"; "+");
    "url = \(.access_token_url | @json)", "data = \"grant_type=client_credentials\"",
    (("scope", "audience") as $name | select(.[$name]) | "data-urlencode = \("\($name)=\(.[$name])" | @json)"),
    if $style == "header" then "user = \("\(.client_id | form):\(.client_secret | form)" | @json)"
    elif $style == "plain" then "user = \("\(.client_id):\(.client_secret)" | @json)"
    else ("client_id", "client_secret") as $name | "data-urlencode = \("\($name)=\(.[$name])" | @json)" end' |
    { curl --disable --globoff --proto "$(_protocols)" --silent --max-time 10 --header 'Accept: application/json' \
      --write-out '\n%{http_code}' --config - || true; } |
    jq -Rrs 'split("\n") | (.[-1] | tonumber) as $status | (.[:-1] | join("\n") | fromjson? // null) as $body |
      ["invalid_request", "invalid_client", "invalid_grant", "invalid_scope", "invalid_target", "unauthorized_client",
        "unsupported_grant_type", "access_denied", "server_error", "temporarily_unavailable", "slow_down"] as $known |
      ([$body | objects | .error, .errorCode | strings | ascii_downcase | select(IN($known[]))][0] // "") as $code |
      ($status >= 200 and $status < 300) as $ok |
      if $ok and ([$body | objects | select((.error // "") | IN("", 0)) | .access_token | strings] | any(. != ""))
      then "works"
      elif $status < 200 or $status >= 500 or ($status | IN(408, 425, 429)) or ($status == 403 and $code == "") or
        ($ok and $body == null) or ($code | IN("temporarily_unavailable", "slow_down")) then "unknown"
      else "refused" end + " \(if $status == 0 then "no answer" else $status end) \($code)" | rtrimstr(" ")'
}

# _protocols: of token endpoints, as for the function: http on an emulator only.
_protocols() {
  case ${AWS_ENDPOINT_URL:-} in
    http://127.0.0.1:* | http://localhost:* | 'http://[::1]:'*) echo "=http,https" ;;
    *) echo "=https" ;;
  esac
}

# Datadog

datadog() { # datadog METHOD PATH [CURL-OPTION…]: calls Datadog's API
  local method=$1 path=$2 headers
  shift 2
  headers=$(_datadog_headers) || return
  curl --disable --fail-with-body --silent --show-error --request "$method" --header @<(printf '%s\n' "$headers") \
    "$@" "$(datadog_url)$path"
}

datadog_url() { # DD_API_URL; or DD_SITE's, where the shell has its keys too; else that of the function
  local url=${DD_API_URL:-}
  if [ -z "$url" ] && [ -n "${DD_ACCESS_TOKEN:-}${DD_API_KEY:-}" ]; then
    url=${DD_SITE:+https://api.$DD_SITE}
  fi
  url=${url:-$(parameter DdApiUrl)}
  echo "${url:-https://api.$(parameter DdSite)}"
}

auth_methods() ( # what Datadog has
  set -o pipefail
  datadog GET '/api/v2/integration/webhooks/configuration/auth-method?include=oauth2-client-credentials' |
    jq '[.included[]? | select(.type == "webhooks-auth-method-oauth2-client-credentials")]'
)

list_auth_methods() ( # as a table: id, name, client, token URL
  set -o pipefail
  auth_methods | jq -r '.[] | [.id, (.attributes | .name, .client_id, .access_token_url)] | @tsv' | _table
)

post_monitor() { # post_monitor FILE: creates the monitor, or replaces the one of its name
  _post /api/v1/monitor '.[]' name "$1"
}

post_dashboard() { # post_dashboard FILE: likewise
  _post /api/v1/dashboard '.dashboards[]' title "$1"
}

post_pipeline() { # post_pipeline FILE: likewise
  _post /api/v1/logs/config/pipelines '.[]' name "$1"
}

# _post PATH EACH MEMBER FILE: replaces what has the same MEMBER among EACH, or creates it; prints its id.
_post() (
  set -o pipefail
  all=$(datadog GET "$1") || return
  id=$(printf %s "$all" | jq -r --slurpfile new "$4" "first($2 | select(.$3 == \$new[0].$3)).id // empty")
  datadog "$([ -n "$id" ] && echo PUT || echo POST)" "$1${id:+/$id}" \
    --header 'Content-Type: application/json' --data "@$4" | jq .id
)

# _datadog_headers: of DD_ACCESS_TOKEN, or DD_API_KEY and DD_APP_KEY, where the shell has them; else the function's own.
_datadog_headers() (
  set -o pipefail
  token=${DD_ACCESS_TOKEN:-} key=${DD_API_KEY:-} app=${DD_APP_KEY:-}
  if [ -z "$token$key" ]; then
    arn=$(parameter DdApiKeySecretArn) || return
    if [ -z "$arn" ]; then
      echo "datadog: the function has no keys: set DD_ACCESS_TOKEN, or DD_API_KEY and DD_APP_KEY" >&2
      return 1
    fi
    app_arn=$(parameter DdAppKeySecretArn) || return
    key=$(_value "$arn" |
      _member access_token DD_ACCESS_TOKEN api_key apiKey adminApiKey DD_API_KEY dd_api_key) || return
    app=$(_value "${app_arn:-$arn}" |
      _member app_key appKey application_key adminAppKey DD_APP_KEY dd_app_key) || return
    case $key in ddsat_*) token=$key ;; esac
  fi
  if [ -n "$token" ]; then
    printf 'Authorization: Bearer %s\n' "$token"
  else
    printf 'DD-API-KEY: %s\nDD-APPLICATION-KEY: %s\n' "$key" "$app"
  fi
)

# _member NAME… <VALUE: the first member of an object that is there, or a value that is no object.
_member() {
  jq -Rrs 'gsub("^[\\s\ufeff]+|\\s+$"; "") | (fromjson? | objects) // . |
    if type == "object" then [.[$ARGS.positional[]] | strings | select(. != "")][0] // "" else . end' --args "$@"
}

# The failure queue

read_queue() { # prints at most ten of its messages, and keeps them in messages.json
  aws sqs receive-message --queue-url "$(output FailureQueueUrl)" --max-number-of-messages 10 --visibility-timeout 600 \
    --attribute-names SentTimestamp --message-attribute-names All --output json >messages.json || return
  jq -r '.Messages[]? | . as $m | (.Body | fromjson? // .) as $body | ($body.requestPayload? // $body) as $event |
    [($m.Attributes.SentTimestamp | tonumber / 1000 | todate),
     ($event.resources?[0]? // $event.action? // $event | tostring),
     ($body.responsePayload?.errorMessage? // $m.MessageAttributes.ERROR_MESSAGE.StringValue? // "-")] | @tsv' \
    messages.json | _table
}

delete_read() { # deletes the messages in messages.json, and that
  local queue handle
  queue=$(output FailureQueueUrl) || return
  jq -r '.Messages[]?.ReceiptHandle' messages.json | while read -r handle; do
    aws sqs delete-message --queue-url "$queue" --receipt-handle "$handle" || return
  done && rm messages.json
}

package handler

import (
	"cmp"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"datadog-webhook-auth-sync/handler/endpoint"
	"datadog-webhook-auth-sync/handler/secretstore"
)

// Config is the whole configuration. Each field comes from the template parameter of the same meaning.
type Config struct {
	Site             string // of Datadog
	APIURL           string // the base of Datadog's API
	APIKeySecretARN  string // empty: keyless
	AppKeySecretARN  string // the same, where one secret holds both keys
	OrgUUID          string // of the Datadog organisation, for keyless; empty where there is a key secret
	Prefix           string
	EventBus         string // name or ARN
	NamePrefix       string // of auth methods that are named by default
	VerifyCredential bool
	Refresh          time.Duration
	LogLevel         slog.Level
	Region           string
	FunctionName     string
	OwnerTagKey      string   // the tag of a secret that names its owner; empty = none
	AllowLoopback    bool     // only on an emulator: see endpoint.Check
	TokenHosts       []string // that a client secret may be sent to; none = every public host
}

// Sites of Datadog. https://docs.datadoghq.com/getting_started/site/
var sites = []string{"datadoghq.com", "us3.datadoghq.com", "us5.datadoghq.com", "ap1.datadoghq.com",
	"ap2.datadoghq.com", "uk1.datadoghq.com", "datadoghq.eu", "ddog-gov.com", "us2.ddog-gov.com"}

var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

// otherAWS matches the regions outside the partition aws.
var otherAWS = regexp.MustCompile(`^(cn|us-gov|us-iso[a-z]*|eu-isoe|eusc)-`)

// ReadConfig reads the configuration with getenv. Its error names every fault at once, by template parameter.
func ReadConfig(getenv func(string) string) (Config, error) {
	c := Config{
		Site:            getenv("DD_SITE"),
		APIURL:          getenv("DD_API_URL"),
		APIKeySecretARN: getenv("DD_API_KEY_SECRET_ARN"),
		AppKeySecretARN: getenv("DD_APP_KEY_SECRET_ARN"),
		OrgUUID:         getenv("DD_ORG_UUID"),
		Prefix:          getenv("SECRET_NAME_PREFIX"),
		NamePrefix:      getenv("AUTH_METHOD_NAME_PREFIX"),
		EventBus:        getenv("EVENT_BUS_NAME"),
		Region:          getenv("AWS_REGION"),
		OwnerTagKey:     getenv("OWNER_TAG_KEY"),
		FunctionName:    getenv("AWS_LAMBDA_FUNCTION_NAME"),
		AllowLoopback:   endpoint.Loopback(getenv("AWS_ENDPOINT_URL")),
	}
	var faults []string
	must := func(ok bool, parameter, rule string) {
		if !ok {
			faults = append(faults, parameter+" "+rule)
		}
	}
	must(slices.Contains(sites, c.Site), "DdSite", "must be one of "+strings.Join(sites, ", "))
	if c.APIURL == "" {
		c.APIURL = "https://api." + c.Site
	} else {
		ok := endpoint.Check(c.APIURL, c.AllowLoopback) == nil && !strings.Contains(c.APIURL, "?")
		must(ok, "DdApiUrl", "must be https to a host that is not loopback, without userinfo, query or fragment")
	}
	keyless := c.OrgUUID != ""
	must(keyless != (c.APIKeySecretARN != ""), "DdApiKeySecretArn", "or DdOrgUuid must be given, and only one of them")
	must(!keyless || c.AppKeySecretARN == "", "DdAppKeySecretArn", "must be empty where DdOrgUuid is given")
	must(!keyless || secretstore.IsUUID(c.OrgUUID), "DdOrgUuid", "must be a UUID, or empty")
	must(!keyless || !otherAWS.MatchString(c.Region), "DdOrgUuid",
		"must be empty in "+c.Region+": keyless is for the partition aws")
	keySecret := `^(arn:[a-z-]+:secretsmanager:` + c.Region + `:\d{12}:secret:[\w/+=.@!-]+-[A-Za-z0-9]{6})?$`
	aKeySecret := "must be the complete ARN of a secret in " + c.Region + ", or empty"
	for _, p := range []struct {
		name, value, pattern string
		longest              int // not in the pattern, which would take longer to compile
		rule                 string
	}{
		{"DdApiKeySecretArn", c.APIKeySecretARN, keySecret, 2048, aKeySecret},
		{"DdAppKeySecretArn", c.AppKeySecretARN, keySecret, 2048, aKeySecret},
		{"OwnerTagKey", c.OwnerTagKey, `^[\w .:/=+@-]*$`, 128, "must be the key of a tag, or empty"},
		{"SecretNamePrefix", c.Prefix, `^[\w/+=.@-]+/$`, 512, "must have only letters, digits and /_+=.@-, and end with /"},
		{"EventBusName", c.EventBus, `^(arn:[a-z-]+:events:[a-z0-9-]+:\d{12}:event-bus/)?[\w/.-]+$`, 2048,
			"must be the name or the ARN of an event bus"},
		{"AuthMethodNamePrefix", c.NamePrefix, `^[\w/+=.@ :-]*$`, 64,
			"must have at most 64 characters: letters, digits, spaces and /_+=.@:-"},
	} {
		must(regexp.MustCompile(p.pattern).MatchString(p.value) && len(p.value) <= p.longest, p.name, p.rule)
	}
	_, bus, _ := strings.Cut(c.EventBus, ":event-bus/") // of an ARN
	must(len(cmp.Or(bus, c.EventBus)) <= 256, "EventBusName", "must have at most 256 characters")
	c.AppKeySecretARN = cmp.Or(c.AppKeySecretARN, c.APIKeySecretARN)
	hours, err := strconv.Atoi(getenv("REFRESH_HOURS"))
	must(err == nil && hours >= 1 && hours <= 168, "RefreshHours", "must be a number from 1 to 168")
	c.Refresh = time.Duration(hours) * time.Hour
	verify := getenv("VERIFY_CREDENTIAL")
	must(verify == "true" || verify == "false", "VerifyCredential", "must be true or false")
	c.VerifyCredential = verify == "true"
	hosts, err := endpoint.ParseHosts(getenv("ALLOWED_TOKEN_HOSTS"))
	must(err == nil, "AllowedTokenHosts", fmt.Sprint(err))
	c.TokenHosts = hosts
	level, known := levels[getenv("LOG_LEVEL")]
	must(known, "LogLevel", "must be debug, info, warn or error")
	c.LogLevel = level
	if len(faults) > 0 {
		return Config{}, fmt.Errorf("configuration: %s", strings.Join(faults, "; "))
	}
	return c, nil
}

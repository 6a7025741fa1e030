package system

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Stored is a secret that is there before the emulator starts, since no call to
// it makes one that was changed in the past.
type Stored struct {
	Name    string
	Values  []string // of its versions; the last is AWSCURRENT, the one before AWSPREVIOUS
	Changed time.Time
}

// ARN of the secret.
func (s Stored) ARN() string {
	return "arn:aws:secretsmanager:" + Region + ":" + Account + ":secret:" + s.Name + "-5t0red"
}

// VersionID of the version with Values[i].
func (s Stored) VersionID(i int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", i) }

// store writes secrets where the emulator looks for the state that an earlier
// run left.
func store(folder string, secrets []Stored) error {
	type object = map[string]any
	all := object{}
	for _, s := range secrets {
		versions, changed := object{}, s.Changed.Unix()
		for i, value := range s.Values {
			labels := []string{}
			switch len(s.Values) - i {
			case 1:
				labels = append(labels, "AWSCURRENT")
			case 2:
				labels = append(labels, "AWSPREVIOUS")
			}
			versions[s.VersionID(i)] = object{"SecretString": value, "CreatedDate": changed, "Stages": labels}
		}
		all[Account+"\x00"+Region+"\x00'"+s.Name+"'"] = object{
			"ARN": s.ARN(), "Name": s.Name, "Description": "", "Tags": []string{}, "CreatedDate": changed, "LastChangedDate": changed,
			"RotationEnabled": false, "ReplicationStatus": []string{}, "Versions": versions,
		}
	}
	text, err := json.Marshal(object{"__ministack_format__": 2, "payload": object{
		"secrets": object{"__account_region_scoped__": true, "data": all},
	}})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "secretsmanager.json"), text, 0o600)
}

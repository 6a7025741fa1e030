// Package simulation plays random schedules of what can go wrong against the whole function, in virtual time, and
// holds what comes of them to the promises that the project makes.
//
// A schedule is drawn as data by rapid and played in a testing/synctest bubble of its own. Rotations, rollbacks and
// people act on stateful stand-ins; an attacker writes the one secret that it may; teams share a client or a
// name; EventBridge, a schedule, Secrets Manager's rotation and callers invoke the function, which
// handler.New wires as in Lambda; calls are slow, fail, lose their answers, take effect minutes late, read stale
// state; invocations vanish at any call. Some invariants hold at each call (safety_test.go), some of what the
// function records (record_test.go) and publishes (results_test.go), and some when every fault has ended and time has
// passed (end_test.go). TestPlantedBugs shows that they can fail.
//
//	go test ./handler/simulation                                            the usual share, the same each time
//	go test ./handler/simulation -run Schedules -rapid.checks=100000        a long run from a random seed
//	go test ./handler/simulation -run Schedules -rapid.seed=N               one of them again
//
// The same seed plays the same schedules with the same interleavings: nothing that is random comes from elsewhere
// than the schedule, and no two calls happen at the same instant.
package simulation

package secretstoretest

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"

	"datadog-webhook-auth-sync/handler/standin"
)

// What Secrets Manager may answer to any call, for Fail, Lose and Hook.
var (
	AccessDenied    error = &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "User is not authorized to perform this action"}
	KMSAccessDenied error = &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "Access to KMS is not allowed"}
	Throttled       error = &smithy.GenericAPIError{Code: "ThrottlingException", Message: "Rate exceeded"}
	CannotDecrypt   error = &types.DecryptionFailure{Message: aws.String("Secrets Manager can't decrypt the protected secret text using the provided KMS key.")}
	Internal        error = &types.InternalServiceError{Message: aws.String("An error occurred on the server side.")}
)

func notFound(text string) error         { return &types.ResourceNotFoundException{Message: &text} }
func exists(text string) error           { return &types.ResourceExistsException{Message: &text} }
func invalidRequest(text string) error   { return &types.InvalidRequestException{Message: &text} }
func invalidParameter(text string) error { return &types.InvalidParameterException{Message: &text} }

type fault struct {
	err  error
	lost bool
}

// Fail lets the next n calls of op, such as "GetSecretValue", fail with err and without an effect. Faults of one
// operation queue up.
func (s *Server) Fail(op string, n int, err error) { s.queue(op, n, fault{err, false}) }

// Lose lets the next n calls of op take effect, but their answers are lost: the callers get err.
func (s *Server) Lose(op string, n int, err error) { s.queue(op, n, fault{err, true}) }

func (s *Server) queue(op string, n int, f fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.faults == nil {
		s.faults = map[string][]fault{}
	}
	s.faults[op] = append(s.faults[op], slices.Repeat([]fault{f}, n)...)
}

// Calls counts the calls so far by operation.
func (s *Server) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.calls)
}

// ResetCalls forgets the calls so far.
func (s *Server) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = nil
}

// call is the way of every SDK method: noted, half of the latency, effect, half of the latency, answer.
func call[In, Out any](ctx context.Context, s *Server, op string, id *string, in *In, effect func(*In) (*Out, error)) (*Out, error) {
	if ctx.Err() != nil {
		return nil, failed(op, ctx.Err()) // nothing was sent
	}
	s.mu.Lock()
	name, sent := s.nameOf(aws.ToString(id)), time.Now()
	if s.calls == nil {
		s.calls = map[string]int{}
	}
	s.calls[op]++
	s.mu.Unlock()
	var half time.Duration
	if s.Latency != nil {
		half = s.Latency(op, name) / 2
	}
	if !standin.Wait(ctx, half) {
		time.AfterFunc(half-time.Since(sent), func() { serve(s, op, name, in, effect) })
		return nil, failed(op, ctx.Err())
	}
	out, err := serve(s, op, name, in, effect)
	if !standin.Wait(ctx, half) {
		err = ctx.Err()
	}
	if err != nil {
		return nil, failed(op, err)
	}
	return out, nil
}

// serve is what happens at the service: hook, fault, effect.
func serve[In, Out any](s *Server, op, name string, in *In, effect func(*In) (*Out, error)) (*Out, error) {
	if s.Hook != nil {
		if err := s.Hook(op, name); err != nil {
			return nil, err
		}
	}
	f := s.nextFault(op)
	if f.err != nil && !f.lost {
		return nil, f.err
	}
	out, err := apply(s, in, effect)
	if f.err != nil {
		return nil, f.err
	}
	return out, err
}

// apply lets an effect take place, alone, then tells of the labels that it moved.
func apply[In, Out any](s *Server, in *In, effect func(*In) (*Out, error)) (*Out, error) {
	s.mu.Lock()
	s.moved = nil
	out, err := effect(in)
	moved := s.moved
	s.mu.Unlock()
	if s.OnLabel != nil {
		for _, e := range moved {
			s.OnLabel(e)
		}
	}
	return out, err
}

// nextFault is what the next call of op meets; the zero fault is nothing.
func (s *Server) nextFault(op string) (next fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if queue := s.faults[op]; len(queue) > 0 {
		next, s.faults[op] = queue[0], queue[1:]
	}
	return next
}

func failed(op string, err error) error {
	return &smithy.OperationError{ServiceID: sm.ServiceID, OperationName: op, Err: err}
}

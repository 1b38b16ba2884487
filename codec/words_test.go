package codec

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each value of an enumeration has a word of its own, which reads back as the value; a value without a word is a number.
func TestEnumerationsAreWords(t *testing.T) {
	type enums struct {
		Mode   Mode
		Start  StartKind
		Slow   SlowPolicy
		Reason StartReason
		Scope  ScopeKind
	}
	for _, c := range []struct {
		v    enums
		want string
	}{
		{enums{}, `{"Mode":"live","Start":"snapshot","Slow":"all","Reason":"as asked","Scope":"all"}`},
		{enums{ModeSimulation, StartLive, SlowLatest, StartedResumed, ScopeDefinitions},
			`{"Mode":"simulation","Start":"live","Slow":"latest","Reason":"resumed","Scope":"definitions"}`},
		{enums{ModeReplay, StartBeginning, SlowDisconnect, StartedRewound, ScopeAdded},
			`{"Mode":"replay","Start":"beginning","Slow":"disconnect","Reason":"rewound","Scope":"added"}`},
	} {
		b, err := json.Marshal(c.v)
		require.NoError(t, err)
		assert.Equal(t, c.want, string(b))
		var back enums
		require.NoError(t, json.Unmarshal(b, &back))
		assert.Equal(t, c.v, back)
	}
	for code := CodeShutdown; code <= CodeDenied+1; code++ { // the last one is of a later version
		var back Code
		require.NoError(t, back.UnmarshalText([]byte(code.String())))
		assert.Equal(t, code, back)
	}
	for _, s := range []string{"", "code 0", "code 256", "code", "gone"} {
		assert.Error(t, new(Code).UnmarshalText([]byte(s)), s)
	}
	assert.Equal(t, "mode(3)", Mode(3).String())
	assert.Equal(t, "time", StartTime.String())
	assert.Equal(t, "snapshot", StartedBySnapshot.String())
	policy := SlowLatest
	assert.EqualError(t, policy.UnmarshalText([]byte("fast")), `slow-consumer policy must be all, latest or disconnect, got "fast"`)
	assert.Equal(t, SlowLatest, policy, "an error leaves the value")
}

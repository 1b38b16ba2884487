package audit

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"

	"tickfeed/feed"
)

// Every field of a tick except its number changes the hash, also a field that is added later.
func TestHashCoversEveryFieldExceptTheNumber(t *testing.T) {
	full := func() *feed.Tick {
		return &feed.Tick{Kind: feed.KindDefinition, Extra: &feed.Extra{Definition: &feed.Definition{Symbol: "A"}}}
	}
	plain := Hash(full())
	assert.Equal(t, plain, Hash(full()))
	assert.NotZero(t, Hash(&feed.Tick{}))
	numbered := full()
	numbered.Seq = 7
	assert.Equal(t, plain, Hash(numbered))
	var change func(name string, at func(*feed.Tick) reflect.Value)
	change = func(name string, at func(*feed.Tick) reflect.Value) {
		switch v := at(full()); v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				if f := v.Type().Field(i).Name; f != "Seq" && f != "Summary" { // a summary has no number
					change(name+"."+f, func(x *feed.Tick) reflect.Value { return at(x).Field(i) })
				}
			}
		case reflect.Pointer:
			change(name, func(x *feed.Tick) reflect.Value { return at(x).Elem() })
		case reflect.Array:
			for i := range v.Len() {
				change(name, func(x *feed.Tick) reflect.Value { return at(x).Index(i) })
			}
		default:
			x := full()
			switch f := at(x); {
			case f.CanInt():
				f.SetInt(f.Int() + 1)
			case f.CanUint():
				f.SetUint(f.Uint() + 1)
			default:
				f.SetString(f.String() + "x")
			}
			assert.NotEqual(t, plain, Hash(x), name)
		}
	}
	change("Tick", func(x *feed.Tick) reflect.Value { return reflect.ValueOf(x).Elem() })
}

package window

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// arity refuses a number of parameters outside [least, most].
func arity(params []Param, least, most int) error {
	switch n := len(params); {
	case n >= least && n <= most:
		return nil
	case least == most:
		return fmt.Errorf("it takes %d parameters, found %d", least, n)
	default:
		return fmt.Errorf("it takes %d to %d parameters, found %d", least, most, n)
	}
}

// checkSize refuses parameter i unless it is a constant int of at least least.
func checkSize(params []Param, i int, least int64) error {
	p := params[i]
	if !p.Constant() || p.Type != event.Int {
		return fmt.Errorf("parameter %d: expected a constant int, found %s", i+1, p.describe())
	}
	if p.Int < least {
		return fmt.Errorf("parameter %d: expected at least %d, found %d", i+1, least, p.Int)
	}
	return nil
}

// checkSpan refuses parameter i unless it is a positive constant time in ms.
func checkSpan(params []Param, i int) error {
	p := params[i]
	if !p.constantTime() {
		return fmt.Errorf("parameter %d: expected a constant time such as 5 sec, found %s", i+1, p.describe())
	}
	if p.Int <= 0 {
		return fmt.Errorf("parameter %d: expected a time above 0, found %d ms", i+1, p.Int)
	}
	return nil
}

// checkFlag refuses parameter i unless it is a constant bool.
func checkFlag(params []Param, i int) error {
	if p := params[i]; !p.Constant() || p.Type != event.Bool {
		return fmt.Errorf("parameter %d: expected true or false, found %s", i+1, p.describe())
	}
	return nil
}

func (p Param) constantTime() bool {
	return p.Constant() && (p.Type == event.Int || p.Type == event.Long)
}

func (p Param) describe() string {
	switch {
	case p.Computed:
		return fmt.Sprintf("an expression of type %s", p.Type)
	case !p.Constant():
		return fmt.Sprintf("an attribute of type %s", p.Type)
	case p.Time:
		return fmt.Sprintf("a time of %d ms", p.Int)
	case p.Type == event.String:
		return fmt.Sprintf("the string '%s'", p.Text)
	case p.Type.Class() == event.Reals:
		return fmt.Sprintf("the %s %v", p.Type, p.Real)
	case p.Type == event.Bool:
		return fmt.Sprintf("the bool %v", p.Int != 0)
	default:
		return fmt.Sprintf("the %s %d", p.Type, p.Int)
	}
}

// later returns t + d without wrapping; d is not negative.
func later(t, d int64) int64 {
	if sum := t + d; sum >= t {
		return sum
	}
	return 1<<63 - 1
}

package function

type document struct{}

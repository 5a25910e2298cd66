package natsconn

// Decimal returns the number of a partition as names of streams and labels of metrics have it.
func Decimal(p uint32) string { return decimal(p) }

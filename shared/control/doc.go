// Package control has what services and commands ask of the checkpointer, and a
// client that asks it: JSON by NATS request to ef.checkpointer.<verb>. Whichever
// checkpointer gets a request passes it on to the leader. How the leader decides is
// services/checkpointer's business. A Desk is what services take requests at.
package control

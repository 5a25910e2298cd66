// Package control defines the requests that services and commands send to the checkpointer, and a
// client for them: JSON by NATS request to ef.checkpointer.<verb>. Any checkpointer that gets
// a request passes it on to the leader. Package services/checkpointer decides how to answer.
// Services accept requests through a RequestServer.
package control

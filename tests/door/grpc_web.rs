//! gRPC-Web: unary calls and streams, by a client that others wrote and by raw frames.

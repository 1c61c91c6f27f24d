//! causerie: a self-hosted conversations service that speaks gRPC.

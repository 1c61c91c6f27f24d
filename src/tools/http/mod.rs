//! HTTP requests that the service makes for a model.

//! countersign-e2e

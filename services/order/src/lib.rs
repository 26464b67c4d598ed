//! countersign-order

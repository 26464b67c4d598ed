//! countersign-notification

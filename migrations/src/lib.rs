//! countersign-migrations

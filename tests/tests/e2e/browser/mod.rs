//! The customer's pages in a real Chromium: a phone's screen, no script, nothing but the keyboard, in both languages.

mod audit;
mod chromium;
mod journeys;
mod scanner;

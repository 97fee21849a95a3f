//! A model of the write protocol, every state of which is visited.

#![expect(unreachable_pub, reason = "items of a test are shared between its modules")]

#[cfg(test)]
mod action;
#[cfg(test)]
mod database;
#[cfg(test)]
mod flaw;
#[cfg(test)]
mod flaws;
#[cfg(test)]
mod list;
#[cfg(test)]
mod names;
#[cfg(test)]
mod observe;
#[cfg(test)]
mod power;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod protocol;
#[cfg(test)]
mod resume;
#[cfg(test)]
mod state;
#[cfg(test)]
mod walk;
#[cfg(test)]
mod witness;

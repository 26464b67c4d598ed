//! Who calls: a name and the roles that go with it, found out once for each call and before anything of it is read.

use std::{fmt, sync::Arc};

use countersign_proto::v1::Role;
use http::Extensions;
use tonic::{Code, Status};

use self::refusals::{Peer, Refusals};

pub mod refusals;

mod certificates;
#[cfg(any(test, feature = "testkit"))]
pub(crate) mod fuzz;
mod gate;
mod keys;
mod tokens;

pub(crate) use self::certificates::names_in;
pub use self::gate::{Gate, GateLayer};

/// Names the caller where nobody proves who it is.
pub const CALLER_HEADER: &str = "x-countersign-caller";
/// Characters of a caller's name at most; the tables keep as many.
pub const NAME_CHARACTERS_MAX: usize = 64;

/// A set of roles.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles(u32);

impl Roles {
    /// Every role there is.
    pub const ALL: Self = Self(u32::MAX);
    /// None.
    pub const NONE: Self = Self(0);
    /// Those whose work is with everybody's orders.
    const EVERYBODYS_ORDERS: Self = Self(
        bit(Role::Warehouse)
            | bit(Role::Agent)
            | bit(Role::Operator)
            | bit(Role::Reporter)
            | bit(Role::Admin)
            | bit(Role::Worker),
    );

    /// Those of a list.
    pub fn of(roles: impl IntoIterator<Item = Role>) -> Self {
        Self(roles.into_iter().fold(0, |set, role| set | bit(role)))
    }

    /// Whether a role is among them.
    pub const fn has(self, role: Role) -> bool {
        self.0 & bit(role) != 0
    }

    /// Whether any role is in both sets.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        (1..32)
            .filter_map(|number| Role::try_from(number).ok())
            .filter(move |role| self.has(*role))
    }
}

const fn bit(role: Role) -> u32 {
    1 << role as u32
}

impl fmt::Debug for Roles {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_set()
            .entries(self.iter().map(word))
            .finish()
    }
}

/// A role as the configuration writes it: `ORDER_WRITER`.
pub fn word(role: Role) -> &'static str {
    let name = role.as_str_name();
    name.strip_prefix("ROLE_").unwrap_or(name)
}

/// Who calls, and what.
#[derive(Clone, Debug)]
pub struct Caller {
    name: Arc<str>,
    roles: Roles,
    /// The path of the method; empty where no call from outside is behind it.
    method: &'static str,
    peer: Peer,
    refusals: Refusals,
}

impl Caller {
    /// One that is not behind a connection: a timer, a test.
    pub fn new(name: &str, roles: Roles) -> Self {
        Self {
            name: name.into(),
            roles,
            method: "",
            peer: Peer::Loopback,
            refusals: Refusals::default(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it may do.
    pub const fn roles(&self) -> Roles {
        self.roles
    }

    /// Whose orders it may see: its own, when it has no role whose work is with everybody's; none for all.
    pub fn sees_only(&self) -> Option<&str> {
        (!self.roles.meets(Roles::EVERYBODYS_ORDERS)).then_some(&*self.name)
    }

    /// Puts on record that it was refused something that may be somebody else's.
    pub fn note_refusal(&self, code: Code) {
        self.refusals.note(&self.name, self.method, code, self.peer);
    }

    /// The one that made a call, put into its extensions by the [`Gate`].
    pub fn of(extensions: &Extensions) -> Result<&Self, Status> {
        extensions.get::<Self>().ok_or_else(|| {
            tracing::error!("a call reached its method without a caller");
            Status::internal("something went wrong on our side; it has been recorded")
        })
    }
}

/// Whether a text can name a caller.
pub fn is_name(text: &str) -> bool {
    (1..=NAME_CHARACTERS_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._:@-".contains(&byte))
}

#[cfg(test)]
mod tests;

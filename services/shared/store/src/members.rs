//! A database of several servers: which of them takes writes, and connections that follow it.
//!
//! Every connection leads to the primary, reads as well as writes: whoever decides by what a server behind it says, decides
//! by the past. The driver's pool knows one address; this module exchanges it.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use sqlx::{ConnectOptions as _, MySqlConnection, MySqlPool, Row as _, mysql::MySqlConnectOptions};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use crate::{
    deadline::Retired,
    error::{During as _, StoreError},
};

/// Between two looks at whether the primary still is one.
const LOOK: Duration = Duration::from_secs(1);
/// Between two searches while there is none.
const SEARCH: Duration = Duration::from_millis(200);
/// A server that has not answered by then has no say.
const PATIENCE: Duration = Duration::from_secs(2);
/// The first search: a cluster that is just electing takes a while.
const FIRST_SEARCH: Duration = Duration::from_secs(30);

/// The URL of each server: `mysql://root@a:3306,b:3306/shop` names two.
pub(crate) fn urls(url: &str) -> Result<Vec<String>, StoreError> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Ok(vec![url.to_owned()]);
    };
    // A password may hold anything, so the account ends at the last at sign, as it is shown elsewhere.
    let (account, rest) = rest
        .rfind('@')
        .map_or(("", rest), |at| rest.split_at(at + 1));
    let (hosts, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let urls: Vec<String> = hosts
        .split(',')
        .map(|host| format!("{scheme}://{account}{host}{path}"))
        .collect();
    if urls.len() > 1
        && hosts
            .split(',')
            .any(|host| host.trim() != host || host.is_empty())
    {
        return Err(StoreError::Settings(
            "the hosts of the database URL are separated by commas alone: mysql://user@a:3306,b:3306,c:3306/name"
                .into(),
        ));
    }
    Ok(urls)
}

/// What a server says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    read_only: bool,
    group: Option<Group>,
}

/// How a member of Group Replication sees its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Group {
    members: i64,
    /// Those that it hears of.
    heard: i64,
    /// Whether it takes part itself.
    online: bool,
}

impl Standing {
    /// A server that was cut off from most of its group still calls itself the primary, but can commit nothing.
    const fn takes_writes(self) -> bool {
        let of_a_majority = match self.group {
            Some(group) if group.members > 0 => group.online && 2 * group.heard > group.members,
            _ => true,
        };
        !self.read_only && of_a_majority
    }
}

/// The servers of one database.
#[derive(Debug)]
pub(crate) struct Members {
    options: Vec<MySqlConnectOptions>,
    /// Rung when somebody met a server that takes no writes.
    bell: Notify,
}

impl Members {
    /// Of URLs, as [`urls`] takes them apart.
    pub(crate) fn new(urls: &[String]) -> Result<Self, StoreError> {
        let options = urls
            .iter()
            .map(|url| {
                url.parse::<MySqlConnectOptions>()
                    .map(MySqlConnectOptions::disable_statement_logging)
                    .map_err(|error| StoreError::Settings(format!("the database URL: {error}")))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            options,
            bell: Notify::new(),
        })
    }

    /// Which one takes writes; waits while there is none.
    pub(crate) async fn first_primary(&self) -> Result<usize, StoreError> {
        let deadline = Instant::now() + FIRST_SEARCH;
        loop {
            if let Some((number, _)) = self.primary().await {
                return Ok(number);
            }
            if Instant::now() > deadline {
                return Err(StoreError::Settings(
                    "none of the servers of the database URL takes writes".into(),
                ));
            }
            sleep(SEARCH).await;
        }
    }

    /// Has the connections looked after as long as anybody holds these members.
    pub(crate) fn follow(self: &Arc<Self>, pool: MySqlPool, primary: usize, retired: Retired) {
        let following = Following {
            members: Arc::downgrade(self),
            pool,
            primary,
            retired,
            watched: None,
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "belongs to the pool, as the driver's own tasks do, and ends with it"
        )]
        tokio::spawn(following.run());
    }

    /// Somebody met a server that takes no writes.
    pub(crate) fn ring(&self) {
        self.bell.notify_one();
    }

    /// The first server that says so, and the connection over which it did.
    async fn primary(&self) -> Option<(usize, MySqlConnection)> {
        let mut looks: FuturesUnordered<_> = self
            .options
            .iter()
            .enumerate()
            .map(async |(number, options)| {
                let asked = async {
                    let mut connection = options.connect().await?;
                    let standing = standing(&mut connection).await?;
                    Ok::<_, sqlx::Error>((standing, connection))
                };
                match timeout(PATIENCE, asked).await {
                    Ok(Ok((standing, connection))) if standing.takes_writes() => {
                        Some((number, connection))
                    }
                    Ok(Ok((standing, _))) => {
                        tracing::debug!(number, ?standing, "a server takes no writes");
                        None
                    }
                    Ok(Err(error)) => {
                        tracing::debug!(number, error = %error, "a server does not answer");
                        None
                    }
                    Err(_) => None,
                }
            })
            .collect();
        while let Some(found) = looks.next().await {
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

/// The task that keeps the pool's address right.
struct Following {
    members: Weak<Members>,
    pool: MySqlPool,
    primary: usize,
    retired: Retired,
    watched: Option<MySqlConnection>,
}

impl Following {
    async fn run(mut self) {
        while let Some(members) = self.members.upgrade() {
            if self.still_primary().await {
                timeout(LOOK, members.bell.notified()).await.ok();
                continue;
            }
            match members.primary().await {
                Some((number, connection)) => {
                    self.watched = Some(connection);
                    if number != self.primary {
                        self.turn_to(number, &members.options[number]);
                    }
                }
                None => sleep(SEARCH).await,
            }
        }
    }

    async fn still_primary(&mut self) -> bool {
        let Some(mut connection) = self.watched.take() else {
            return false;
        };
        match timeout(PATIENCE, standing(&mut connection)).await {
            Ok(Ok(standing)) if standing.takes_writes() => {
                self.watched = Some(connection);
                true
            }
            // Dropped, not closed: a server that has fallen silent would not take part in that either.
            _ => false,
        }
    }

    /// New connections lead to the new primary; those to the old one are not used again.
    fn turn_to(&mut self, number: usize, to: &MySqlConnectOptions) {
        tracing::warn!(
            from = self.primary + 1,
            to = number + 1,
            host = to.get_host(),
            port = to.get_port(),
            "the database has another primary; all connections are made anew"
        );
        self.primary = number;
        let options = (*self.pool.connect_options()).clone();
        self.pool
            .set_connect_options(options.host(to.get_host()).port(to.get_port()));
        self.retired.now();
    }
}

/// Asks a server.
async fn standing(connection: &mut MySqlConnection) -> Result<Standing, sqlx::Error> {
    let read_only: i64 = sqlx::query("SELECT CAST(@@GLOBAL.read_only AS SIGNED)")
        .fetch_one(&mut *connection)
        .await?
        .try_get(0)?;
    // MariaDB has no such table, and not every account may read it: then being writable must do.
    let group = sqlx::query(
        "SELECT CAST(COUNT(*) AS SIGNED), \
         CAST(COALESCE(SUM(member_state IN ('ONLINE', 'RECOVERING')), 0) AS SIGNED), \
         CAST(COALESCE(SUM(member_id = @@server_uuid AND member_state = 'ONLINE'), 0) AS SIGNED) \
         FROM performance_schema.replication_group_members",
    )
    .fetch_one(connection)
    .await;
    let group = match group {
        Ok(row) => Some(Group {
            members: row.try_get(0)?,
            heard: row.try_get(1)?,
            online: row.try_get::<i64, _>(2)? > 0,
        }),
        Err(sqlx::Error::Database(_)) => None,
        Err(error) => return Err(error),
    };
    Ok(Standing {
        read_only: read_only != 0,
        group,
    })
}

/// Refuses a connection to a server that takes no writes, before anybody uses it.
pub(crate) async fn refuse_read_only(
    connection: &mut MySqlConnection,
    members: &Members,
) -> Result<(), sqlx::Error> {
    let standing = standing(connection).await?;
    if standing.takes_writes() {
        return Ok(());
    }
    members.ring();
    Err(sqlx::Error::Protocol(
        "the server takes no writes".to_owned(),
    ))
}

/// Refuses a group whose next primary would answer before it has carried out all that the last one committed: whether a
/// commit happened whose answer was lost is looked up there.
pub(crate) async fn check_consistency(pool: &MySqlPool) -> Result<(), StoreError> {
    let row = sqlx::query("SHOW GLOBAL VARIABLES LIKE 'group_replication_consistency'")
        .fetch_optional(pool)
        .await
        .map_err(driver)
        .during("ask how consistent the group is")?;
    let Some(row) = row else { return Ok(()) };
    let value: String = row
        .try_get(1)
        .map_err(driver)
        .during("read how consistent the group is")?;
    if value.eq_ignore_ascii_case("EVENTUAL") {
        return Err(StoreError::Settings(
            "the servers' group_replication_consistency must be BEFORE_ON_PRIMARY_FAILOVER or stricter, or a new primary \
             would deny what the last one has committed; it is EVENTUAL"
                .into(),
        ));
    }
    Ok(())
}

fn driver(error: sqlx::Error) -> sea_orm::DbErr {
    sea_orm::DbErr::Query(sea_orm::RuntimeErr::SqlxError(Arc::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_several_hosts_is_one_of_each() {
        let cases = [
            ("mysql://app@db/shop", vec!["mysql://app@db/shop"]),
            (
                "mysql://app:p,w@a:3306,b:3307/shop?ssl-mode=disabled",
                vec![
                    "mysql://app:p,w@a:3306/shop?ssl-mode=disabled",
                    "mysql://app:p,w@b:3307/shop?ssl-mode=disabled",
                ],
            ),
            ("mysql://a,b", vec!["mysql://a", "mysql://b"]),
            ("sqlite::memory:", vec!["sqlite::memory:"]),
        ];
        for (url, each) in cases {
            assert_eq!(urls(url).unwrap(), each, "{url}");
        }
        for url in ["mysql://a,,b/shop", "mysql://app@a, b/shop", "mysql://a,/x"] {
            let error = urls(url).unwrap_err().to_string();
            assert!(
                error.contains("separated by commas alone"),
                "{url}: {error}"
            );
        }
    }

    #[test]
    fn a_server_takes_writes_with_most_of_its_group_behind_it() {
        let group = |members, heard, online| {
            Some(Group {
                members,
                heard,
                online,
            })
        };
        let cases = [
            (false, None, true),
            (true, None, false),
            (false, group(0, 0, false), true),
            (false, group(3, 3, true), true),
            (false, group(3, 2, true), true),
            (false, group(3, 1, true), false),
            (false, group(2, 1, true), false),
            (false, group(1, 1, true), true),
            (true, group(3, 3, true), false),
            // The plugin is there, but it has left the group or not joined it yet.
            (false, group(1, 0, false), false),
        ];
        for (read_only, group, takes) in cases {
            let standing = Standing { read_only, group };
            assert_eq!(standing.takes_writes(), takes, "{standing:?}");
        }
    }
}

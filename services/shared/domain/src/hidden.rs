//! Types that hold somebody's name, address or words show only what they are: they end up in panics and log lines.

/// Makes `Debug` of these types tell their name and nothing else.
macro_rules! hidden {
    ($($name:ident),+) => {
        $(
            impl std::fmt::Debug for $name {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str(concat!(stringify!($name), "(***)"))
                }
            }
        )+
    };
}
pub(crate) use hidden;

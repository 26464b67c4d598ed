//! Closed vocabularies: an enum, the word that stands for each value in the database and in JSON, and the way back.

/// Declares an enum whose values each have one fixed word, used in the database, in JSON and in logs.
///
/// The words are part of the stored form: `codes_are_pinned` in each module's tests keeps them from changing.
macro_rules! codes {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $( $(#[$vmeta:meta])* $variant:ident = $word:literal, )+ }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name { $( $(#[$vmeta])* #[serde(rename = $word)] $variant, )+ }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];

            /// The word that stands for this value.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::code::UnknownCode;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $( $word => Ok(Self::$variant), )+
                    _ => Err($crate::code::UnknownCode {
                        vocabulary: stringify!($name),
                        word: word.chars().take(64).collect(),
                        known: &[ $( $word, )+ ],
                    }),
                }
            }
        }
    };
}
pub(crate) use codes;

/// A word that is not in the vocabulary.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is no {vocabulary}; known are {}", known.join(", "))]
pub struct UnknownCode {
    /// Name of the enum.
    pub vocabulary: &'static str,
    /// What was given, cut after 64 characters.
    pub word: String,
    /// What would be right.
    pub known: &'static [&'static str],
}

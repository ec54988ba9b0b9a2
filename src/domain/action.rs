//! Volume actions.

use serde::{Deserialize, Serialize};

/// What can be done with the folders of a volume, and can be blocked there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Action {
    Create,
    Modify,
    Delete,
    Mount,
    Clone,
    Invite,
    Share,
}

impl Action {
    /// All of them, in the order of the documents.
    pub const ALL: [Action; 7] = [
        Action::Create,
        Action::Modify,
        Action::Delete,
        Action::Mount,
        Action::Clone,
        Action::Invite,
        Action::Share,
    ];

    /// The word on the command line and in the registry.
    pub fn name(self) -> &'static str {
        match self {
            Action::Create => "create",
            Action::Modify => "modify",
            Action::Delete => "delete",
            Action::Mount => "mount",
            Action::Clone => "clone",
            Action::Invite => "invite",
            Action::Share => "share",
        }
    }
}

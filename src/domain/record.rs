//! The records of the registry. Unknown keys of a record are carried along in `extra`.

mod vfolder;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::action::Action;
pub use super::holder::{Holder, Lease};
use super::level::Level;
use super::quota::{Folders, Storage};
pub use vfolder::{Cloning, Status, Transit, VFolder, home_of};

/// A record that has a key in a section of the registry.
pub trait Record: Serialize + serde::de::DeserializeOwned {
    /// The section.
    const SECTION: &'static str;
    /// What one of them is called in a message.
    const NOUN: &'static str;
}

/// The `vfadm:` line: which registry it is, and its generation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Header {
    /// The version of the format.
    pub schema: u32,
    /// The registry's id; volumes carry it in their marker.
    pub registry: Uuid,
    /// Counts the commits.
    pub generation: u64,
    /// The time of the last commit.
    pub updated_at: Timestamp,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The `settings:` line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// The shared uid of all folders.
    pub uid: u32,
    /// The shared gid of all folders.
    pub gid: u32,
    /// The mode of a folder, octal.
    pub mode: String,
    /// The volume that is meant where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_volume: Option<String>,
    /// The high-water mark of kernel ids: never used twice.
    pub next_kernel_id: u64,
    /// How long folders stay in the trash, for `trash empty` without `--older-than`; days.
    pub trash_days: u32,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What `vfadm volume mount` mounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSource {
    /// A device, an image file, or what a network filesystem calls it: `filer:/export/alice`.
    pub source: String,
    /// The type of the filesystem; absent lets mount(8) find out.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Mount options, separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<String>,
    /// True when vfadm made the image, and may grow it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub image: bool,
}

/// A mounted filesystem, or a plain directory, that holds folders.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Volume {
    /// Stands in the marker too.
    pub id: Uuid,
    /// Where it is mounted.
    pub path: String,
    /// What sets its limits.
    #[serde(flatten)]
    pub storage: Storage,
    /// What a folder is on it.
    pub folders: Folders,
    /// How it is mounted, where vfadm does that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<MountSource>,
    /// The only owner, for a dedicated volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedicated_to: Option<super::owner::Owner>,
    /// Actions that are blocked for everybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked: Vec<Action>,
    /// Actions that are blocked for an owner.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub blocked_for: BTreeMap<String, Vec<Action>>,
    /// Actions that are allowed to an owner although they are blocked.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub allowed_for: BTreeMap<String, Vec<Action>>,
    /// Kernel ids of removed scopes that still carry a charge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub draining: Vec<u64>,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Whether a user may start sessions and make folders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OwnerState {
    /// Yes.
    #[default]
    Active,
    /// No; what is there stays.
    Inactive,
}

impl OwnerState {
    /// The word on the command line and in the registry.
    pub fn name(self) -> &'static str {
        match self {
            OwnerState::Active => "active",
            OwnerState::Inactive => "inactive",
        }
    }
}

/// How much an owner may have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// The most folders, counted in every status; absent is unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_vfolders: Option<u64>,
    /// A bound for the limit of each of its scopes, bytes; absent is unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_quota: Option<u64>,
    /// The limit of a new scope, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_quota: Option<u64>,
}

/// A user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct User {
    /// The name of the user's scopes on disk.
    pub id: Uuid,
    /// Active or not.
    #[serde(default)]
    pub state: OwnerState,
    /// Limits.
    #[serde(flatten)]
    pub allowance: Allowance,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What a member may do in a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Manages the project's folders.
    Admin,
    /// Uses them.
    Member,
}

impl Role {
    /// The word on the command line and in the registry.
    pub fn name(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Member => "member",
        }
    }
}

/// A project.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Project {
    /// The name of the project's scopes on disk.
    pub id: Uuid,
    /// Active or not.
    #[serde(default)]
    pub state: OwnerState,
    /// Who belongs to it.
    #[serde(default)]
    pub members: BTreeMap<String, Role>,
    /// Limits.
    #[serde(flatten)]
    pub allowance: Allowance,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Where the limit of a scope comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitSource {
    /// `quota set`: stays until `quota unset`.
    #[default]
    Set,
    /// `vfolder create --quota-init`.
    Init,
    /// The owner's `default_quota`.
    Default,
    /// The owner's `max_quota`.
    Max,
    /// Nothing limits it.
    None,
}

impl LimitSource {
    fn is_set(&self) -> bool {
        *self == LimitSource::Set
    }
}

/// One owner's directory on one volume.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Scope {
    /// Bytes; `null` is unlimited.
    pub limit: Option<u64>,
    /// Where the limit comes from; absent is `set`.
    #[serde(default, skip_serializing_if = "LimitSource::is_set")]
    pub source: LimitSource,
    /// The kernel's number of the scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_id: Option<u64>,
    /// True while the directory exists.
    pub present: bool,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Where an invitation is in its life. All but the first are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InvitationState {
    /// It waits for the invitee.
    Pending,
    /// The invitee has the grant.
    Accepted,
    /// The invitee does not want it.
    Rejected,
    /// Whoever sent it took it back.
    Canceled,
    /// Its time is over.
    Expired,
}

impl InvitationState {
    /// The word in documents.
    pub fn name(self) -> &'static str {
        match self {
            InvitationState::Pending => "pending",
            InvitationState::Accepted => "accepted",
            InvitationState::Rejected => "rejected",
            InvitationState::Canceled => "canceled",
            InvitationState::Expired => "expired",
        }
    }
}

/// A share that waits for the invitee's consent. Its key is the invitation's id.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Invitation {
    /// The id of the folder.
    pub vfolder: Uuid,
    /// Who invites; absent is the superadmin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inviter: Option<String>,
    /// Who is invited.
    pub invitee: String,
    /// What is offered.
    pub permission: Level,
    /// As it was last written: one whose time is over may still be called pending ([`Invitation::state_at`]).
    pub state: InvitationState,
    /// When it was sent.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Invitation {
    /// Where it is at a time.
    pub fn state_at(&self, time: Timestamp) -> InvitationState {
        match self.state {
            InvitationState::Pending if self.expires_at <= time => InvitationState::Expired,
            state => state,
        }
    }
}

/// One container of a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kernel {
    /// Its name in the session.
    pub name: String,
    /// The host it runs on.
    pub node: String,
    /// What keeps it alive.
    pub holder: Holder,
    /// When it joined; absent where it began with the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Under which boot of its host it was recorded; absent where another host recorded it, or the holder says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A folder in a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionMount {
    /// The id of the folder.
    pub vfolder: Uuid,
    /// The path inside the folder; absent for all of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subpath: String,
    /// Where in the session.
    pub target: String,
    /// `ro` or `rw`.
    pub permission: Level,
    /// True when it came without being asked for.
    #[serde(default, skip_serializing_if = "is_false")]
    pub auto: bool,
}

/// A running computation. Its key is its name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    /// Tells two sessions of one name apart.
    pub id: Uuid,
    /// Whose it is.
    pub user: String,
    /// The project it works for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Its containers.
    pub kernels: Vec<Kernel>,
    /// What every kernel sees.
    pub mounts: Vec<SessionMount>,
    /// When it was recorded.
    pub started_at: Timestamp,
    /// True when `session run` runs it: then `session stop` ends its processes too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub run: bool,
    /// The container that an engine runs for `session run`: it may live longer than the process that holds the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Holder>,
    /// How long it lives, where that is limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

macro_rules! records {
    ($($record:ident $section:literal $noun:literal;)*) => {
        $(impl Record for $record {
            const SECTION: &'static str = $section;
            const NOUN: &'static str = $noun;
        })*
    };
}

records! {
    Volume "volumes" "volume";
    User "users" "user";
    Project "projects" "project";
    Scope "scopes" "quota scope";
    VFolder "vfolders" "vfolder";
    Invitation "invitations" "invitation";
    Session "sessions" "session";
}

fn is_false(value: &bool) -> bool {
    !*value
}

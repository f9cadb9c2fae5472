//! Well-known names and places on the node. Paths are absolute; a reader puts its root folder before them.

/// The agent's name on the system bus.
pub const BUS_NAME: &str = "org.basalt.FirstBoot1";
/// The one object of the agent.
pub const OBJECT_PATH: &str = "/org/basalt/FirstBoot1";
/// The interface of that object.
pub const INTERFACE: &str = "org.basalt.FirstBoot1";
/// What image this is: an [`ImageInfo`](crate::ImageInfo), part of the commit.
pub const IMAGE_FILE: &str = "/usr/lib/basalt/image.json";
/// Which profile of tuned is active, a [`TunedInfo`](crate::TunedInfo), part of the commit. Not there: nobody asked for one.
pub const TUNED_FILE: &str = "/usr/lib/basalt/tuned.json";
/// What the image promises of its kernel modules, a [`ModulesInfo`](crate::ModulesInfo), part of the commit. Not there: it brings none.
pub const MODULES_FILE: &str = "/usr/lib/basalt/modules.json";
/// The agent's last [`Report`](crate::Report).
pub const REPORT_FILE: &str = "/var/lib/basalt/firstboot/report.json";
/// Where the agent's program lies in an image.
pub const AGENT_PROGRAM: &str = "/usr/bin/basalt-firstboot";
/// The agent's unit.
pub const AGENT_UNIT: &str = "basalt-firstboot.service";

/// What a public key of SSH begins with, its options aside: those that OpenSSH's server takes.
pub const SSH_KEY_TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// What the agent tells systemd's journal: the `MESSAGE_ID` of each kind of entry, and the fields beside systemd's own.
pub mod journal {
    /// The agent is done: [`field::STATE`] says how.
    pub const SETTLED: &str = "c692ebd0b8a7479e887e8a4da5f7bd34";
    /// A [`Fault`](crate::Fault) of the report.
    pub const FAULT: &str = "734c1cde7b88431e941fa4d2d8198078";
    /// A [`Step`](crate::Step) has ended: [`field::STEP_STATE`] says how.
    pub const STEP: &str = "52f3ac557de24609bf4ba90aa2e0065d";

    /// Names of fields.
    pub mod field {
        /// The word of the [`State`](crate::State).
        pub const STATE: &str = "BASALT_STATE";
        /// The plan that the image was built from.
        pub const PLAN_ID: &str = "BASALT_PLAN_ID";
        /// What it is about, one word.
        pub const SUBJECT: &str = "BASALT_SUBJECT";
        /// What a person can do.
        pub const NEXT_STEP: &str = "BASALT_NEXT_STEP";
        /// The name of a step.
        pub const STEP: &str = "BASALT_STEP";
        /// The word of the [`StepState`](crate::StepState).
        pub const STEP_STATE: &str = "BASALT_STEP_STATE";
        /// How often the step was begun without success.
        pub const ATTEMPTS: &str = "BASALT_ATTEMPTS";
    }
}

/// The properties of [`INTERFACE`], all read-only and, where nothing else is said, of D-Bus type `s`.
pub mod property {
    /// The word of the [`State`](crate::State).
    pub const STATE: &str = "State";
    /// Why the state is what it is; empty when there is nothing to say.
    pub const REASON: &str = "Reason";
    /// How many subjects are done with, and of how many: `(uu)`.
    pub const PROGRESS: &str = "Progress";
    /// What differed and where it is: `a(ssssutt)`, a [`Step`](crate::Step) each.
    pub const STEPS: &str = "Steps";
    /// What differed, with who asked for it and what is done about it, as JSON.
    pub const PLAN: &str = "Plan";
    /// What the node is, as JSON.
    pub const FACTS: &str = "Facts";
    /// The version of the agent.
    pub const VERSION: &str = "Version";
    /// The plan that the image was built from.
    pub const PLAN_ID: &str = "PlanId";
    /// The name of the image.
    pub const IMAGE_NAME: &str = "ImageName";
    /// The version of the image.
    pub const IMAGE_VERSION: &str = "ImageVersion";
    /// This boot, as the kernel names it.
    pub const BOOT_ID: &str = "BootId";
    /// The checksum of the booted commit.
    pub const DEPLOYMENT: &str = "Deployment";
    /// The [`Report`](crate::Report) as JSON; empty until the agent is done.
    pub const REPORT: &str = "Report";
}

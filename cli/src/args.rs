//! The command line.

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Judge tracing policies, and see what a cluster does about them.
#[derive(Debug, Parser)]
#[command(name = "stockade", bin_name = program_name(), version, max_term_width = 100, after_help = "Exit status: 0 nothing refused, 1 something is, 2 it could not be found out.")]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what the admission webhook would say about policies in files, also without a cluster
    Lint(LintArgs),
    /// Say what policies do, in plain sentences; or what a code of lint means
    Explain(ExplainArgs),
    /// Test that policies do what is expected of them, or what they would have done about recorded events
    Test(TestArgs),
    /// Rewrite policies that say one thing in a way that is refused, and show where they say two
    Convert(ConvertArgs),
    /// Say what changes in meaning between two policies, with an event that is judged differently
    Diff(DiffArgs),
    /// Show what each node does about the policies of the cluster
    Status(StatusArgs),
    /// Print the version
    Version(VersionArgs),
    /// Print a manual page: stockade man lint | man -l -
    Man(ManArgs),
    /// Print a completion script: source <(stockade completion bash)
    #[command(name = "completion", alias = "completions")]
    Completions {
        /// For which shell
        shell: Shell,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct LintArgs {
    /// YAML or JSON files, directories of them, or - for standard input
    #[arg(required = true, value_name = "FILE", value_hint = clap::ValueHint::AnyPath)]
    pub(crate) files: Vec<PathBuf>,
    /// Look into directories below the given ones, too
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
    /// How to print what was found
    #[arg(short, long, value_enum, default_value_t = LintFormat::Text)]
    pub(crate) output: LintFormat,
    /// What makes the exit status 1
    #[arg(long, value_enum, default_value_t = FailOn::Fault, value_name = "WHAT")]
    pub(crate) fail_on: FailOn,
    #[command(flatten, next_help_heading = "With what the nodes of a cluster can do")]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LintFormat {
    /// For people: each fault below the line that it is about
    Text,
    /// One JSON object
    Json,
    /// For tools that show the results of code scanning
    Sarif,
    /// As annotations of a GitHub workflow
    Github,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ExplainArgs {
    /// A code such as PidZero, or YAML or JSON files, directories of them, or - for standard input
    #[arg(required = true, value_name = "CODE|FILE", value_hint = clap::ValueHint::AnyPath)]
    pub(crate) what: Vec<PathBuf>,
    /// Look into directories below the given ones, too
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
    #[command(flatten, next_help_heading = "With what the nodes of a cluster can do")]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct TestArgs {
    /// Test files, or directories in which all *.test.yaml are run (default: the current one); with --events, policies
    #[arg(value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,
    /// Say what the policies would have done about the events that an enforcer has written to this file (-: standard input)
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) events: Option<PathBuf>,
    /// How to print what was found
    #[arg(short, long, value_enum, default_value_t = TestFormat::Text)]
    pub(crate) output: TestFormat,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DiffArgs {
    /// The policy, or the directory of policies, as it was; - for standard input
    #[arg(value_name = "A", value_hint = clap::ValueHint::AnyPath)]
    pub(crate) before: PathBuf,
    /// As it is now
    #[arg(value_name = "B", value_hint = clap::ValueHint::AnyPath)]
    pub(crate) after: PathBuf,
    /// Look into directories below the given ones, too
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = TestFormat::Text)]
    pub(crate) output: TestFormat,
    #[command(flatten, next_help_heading = "With what the nodes of a cluster can do")]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TestFormat {
    /// For people
    Text,
    /// One JSON object
    Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ConvertArgs {
    /// YAML or JSON files, directories of them, or - for standard input
    #[arg(required = true, value_name = "FILE", value_hint = clap::ValueHint::AnyPath)]
    pub(crate) files: Vec<PathBuf>,
    /// Look into directories below the given ones, too
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
    /// Print what would change instead of the whole text
    #[arg(long)]
    pub(crate) diff: bool,
    /// Change the files
    #[arg(long)]
    pub(crate) write: bool,
    /// Take reading N of the choices at this path, of this code, or CODE@PATH; may be given several times
    #[arg(long, value_name = "PATH|CODE=N")]
    pub(crate) choose: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    /// What admission refuses
    Fault,
    /// What is doubtful, as well
    Warning,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct StatusArgs {
    /// Only this policy, node by node: NAME, KIND/NAME
    #[arg(value_name = "POLICY")]
    pub(crate) policy: Option<String>,
    /// Only policies of this namespace; without it, the namespace of the context for a namespaced policy by name
    #[arg(short, long, conflicts_with = "all_namespaces")]
    pub(crate) namespace: Option<String>,
    /// Policies of all namespaces (the default without a policy's name)
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// How to print it
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<StatusFormat>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// Which cluster is asked.
#[derive(Debug, ClapArgs)]
pub(crate) struct ClusterArgs {
    /// The kubeconfig to use
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig to use
    #[arg(long)]
    pub(crate) context: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatusFormat {
    /// More columns
    Wide,
    /// One JSON object
    Json,
    /// The same as YAML
    Yaml,
    /// Only the names, as kubectl takes them
    Name,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ManArgs {
    /// Of which command; without it, the page of stockade itself
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    pub(crate) command: Option<String>,
    /// Write the pages of all commands into this directory
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct VersionArgs {
    /// How to print it
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<VersionFormat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum VersionFormat {
    /// One JSON object
    Json,
}

/// How the user called us: `stockade`, or `kubectl stockade` when started as a plugin.
pub(crate) fn program_name() -> &'static str {
    let started_as = std::env::args_os().next();
    let stem = started_as.as_deref().map(Path::new).and_then(Path::file_stem);
    if stem.is_some_and(|stem| stem == "kubectl-stockade") { "kubectl stockade" } else { "stockade" }
}

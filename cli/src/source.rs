//! The files to judge.

use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// With what some editors begin a file.
pub(crate) const BYTE_ORDER_MARK: char = '\u{feff}';

/// A text and where it comes from.
#[derive(Debug)]
pub(crate) struct Source {
    /// As the user named it.
    pub(crate) name: String,
    pub(crate) text: String,
    /// Found in a directory, not named: what is no Kubernetes object there is none of our business.
    pub(crate) found: bool,
    /// The file; standard input has none.
    pub(crate) path: Option<PathBuf>,
    /// It began with a byte order mark, which is no part of the text.
    pub(crate) marked: bool,
}

/// Why there is no text.
#[derive(Debug)]
pub(crate) enum SourceError {
    Unreadable { path: PathBuf, error: std::io::Error },
    NotText { name: String, at: usize },
    Empty { path: PathBuf },
    NoTests { path: PathBuf },
}

impl SourceError {
    /// As the user named it.
    pub(crate) fn file(&self) -> String {
        match self {
            Self::Unreadable { path, .. } | Self::Empty { path } | Self::NoTests { path } => path.display().to_string(),
            Self::NotText { name, .. } => name.clone(),
        }
    }

    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Unreadable { error, .. } => format!("cannot be read: {error}"),
            Self::NotText { at, .. } => format!("is not text: byte {at} is not UTF-8"),
            Self::NoTests { .. } => "has no .test.yaml file in it".into(),
            Self::Empty { .. } => "has no .yaml, .yml or .json file in it".into(),
        }
    }
}

/// Every source that the arguments name, in their order; those of a directory by name.
pub(crate) fn read_all(files: &[PathBuf], recursive: bool) -> Vec<Result<Source, SourceError>> {
    files.iter().flat_map(|path| read_one(path, recursive)).collect()
}

/// The test files that the arguments name: those named, and in directories, however deep, all `*.test.yaml`.
pub(crate) fn tests(paths: &[PathBuf]) -> Vec<Result<Source, SourceError>> {
    let is_test = |path: &PathBuf| path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with(".test"));
    let mut sources = Vec::new();
    for path in paths {
        if !path.is_dir() {
            sources.push(file(path));
            continue;
        }
        let mut files = Vec::new();
        if let Err((path, error)) = collect(path, true, &mut files) {
            sources.push(Err(SourceError::Unreadable { path, error }));
        }
        files.retain(is_test);
        files.sort();
        if files.is_empty() {
            sources.push(Err(SourceError::NoTests { path: path.clone() }));
        }
        // `./x` is x to whoever reads it.
        sources.extend(files.iter().map(|path| file(path.strip_prefix(".").unwrap_or(path))));
    }
    sources
}

fn read_one(path: &Path, recursive: bool) -> Vec<Result<Source, SourceError>> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        return vec![match std::io::stdin().lock().read_to_end(&mut bytes) {
            Ok(_) => text("<stdin>".into(), bytes),
            Err(error) => Err(SourceError::Unreadable { path: path.into(), error }),
        }];
    }
    if !path.is_dir() {
        return vec![file(path)];
    }
    let mut files = Vec::new();
    if let Err((path, error)) = collect(path, recursive, &mut files) {
        return vec![Err(SourceError::Unreadable { path, error })];
    }
    if files.is_empty() {
        return vec![Err(SourceError::Empty { path: path.into() })];
    }
    files.sort();
    files.iter().map(|path| file(path).map(|source| Source { found: true, ..source })).collect()
}

fn collect(dir: &Path, recursive: bool, files: &mut Vec<PathBuf>) -> Result<(), (PathBuf, std::io::Error)> {
    let at = |error| (dir.to_owned(), error);
    for entry in fs::read_dir(dir).map_err(at)? {
        let entry = entry.map_err(at)?;
        let path = entry.path();
        // Not followed: a link to a directory above would never end.
        if entry.file_type().map_err(at)?.is_dir() {
            if recursive {
                collect(&path, recursive, files)?;
            }
        } else if ["yaml", "yml", "json"].iter().any(|known| path.extension() == Some(OsStr::new(known))) {
            files.push(path);
        }
    }
    Ok(())
}

fn file(path: &Path) -> Result<Source, SourceError> {
    let bytes = fs::read(path).map_err(|error| SourceError::Unreadable { path: path.into(), error })?;
    text(path.display().to_string(), bytes).map(|source| Source { path: Some(path.into()), ..source })
}

/// As UTF-8, without the byte order mark.
fn text(name: String, bytes: Vec<u8>) -> Result<Source, SourceError> {
    match String::from_utf8(bytes) {
        Ok(mut text) => {
            let marked = text.starts_with(BYTE_ORDER_MARK);
            if marked {
                text.drain(..BYTE_ORDER_MARK.len_utf8());
            }
            Ok(Source { name, text, found: false, path: None, marked })
        }
        Err(error) => Err(SourceError::NotText { name, at: error.utf8_error().valid_up_to() }),
    }
}

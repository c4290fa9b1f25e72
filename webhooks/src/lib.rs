//! The admission server of Stockade as a library, and its generated manifests.

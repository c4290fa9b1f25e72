//! The webhook's own CA and certificate: pure, from the current time and what is stored.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use time::{Duration, OffsetDateTime};

/// How long a CA is good for.
const CA_DAYS: i64 = 3650;
/// How long a leaf is good for.
const LEAF_DAYS: i64 = 90;

/// What the Secret holds, in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stored {
    /// The CA's certificate.
    pub ca: String,
    /// The CA's key.
    pub ca_key: String,
    /// The server's certificate.
    pub leaf: String,
    /// The server's key.
    pub leaf_key: String,
}

/// Why certificates could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The library refused.
    #[error("a certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
    /// What is stored is no certificate.
    #[error("what is stored is no certificate: {0}")]
    Read(String),
}

/// What is to be done about what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// A new leaf of the CA that is there.
    Leaf,
    /// A new CA and a leaf of it.
    Authority,
}

/// Judges what is stored.
#[must_use]
pub fn need(stored: &Stored, names: &[String], now: OffsetDateTime) -> Need {
    let Ok(ca) = validity(&stored.ca) else { return Need::Authority };
    // What another key has signed nobody would believe, however often it were made anew.
    if !belong_together(&stored.ca, &stored.ca_key) || ca.1 - now < Duration::days(LEAF_DAYS) {
        return Need::Authority;
    }
    let Ok((begin, end)) = validity(&stored.leaf) else { return Need::Leaf };
    let renew = begin + (end - begin) * 2 / 3;
    let believed = names.iter().all(|name| verify(&stored.ca, &stored.leaf, name, now).is_ok());
    if now >= renew || !believed || !keys_match(stored) {
        return Need::Leaf;
    }
    Need::Nothing
}

fn keys_match(stored: &Stored) -> bool {
    belong_together(&stored.leaf, &stored.leaf_key)
}

/// Whether a certificate is of this key.
fn belong_together(certificate: &str, key: &str) -> bool {
    let Ok(key) = KeyPair::from_pem(key) else { return false };
    let Ok(der) = CertificateDer::from_pem_slice(certificate.as_bytes()) else { return false };
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(&der) else { return false };
    certificate.public_key().subject_public_key.data.as_ref() == key.public_key_raw()
}

/// A new CA, and a leaf of it.
pub fn new_authority(names: &[String], now: OffsetDateTime) -> Result<Stored, CertificateError> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "stockade-webhook-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = now - Duration::hours(1);
    params.not_after = now + Duration::days(CA_DAYS);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let stored = Stored { ca: ca.pem(), ca_key: ca.key().serialize_pem(), ..Stored::default() };
    new_leaf(&stored, names, now)
}

/// A new leaf of the CA that is stored.
pub fn new_leaf(stored: &Stored, names: &[String], now: OffsetDateTime) -> Result<Stored, CertificateError> {
    let issuer = Issuer::from_ca_cert_pem(&stored.ca, KeyPair::from_pem(&stored.ca_key)?)?;
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name.push(DnType::CommonName, "stockade-webhook");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // API servers' clocks are not ours.
    params.not_before = now - Duration::hours(1);
    params.not_after = now + Duration::days(LEAF_DAYS);
    let key = KeyPair::generate()?;
    let leaf = params.signed_by(&key, &issuer)?;
    Ok(Stored { leaf: leaf.pem(), leaf_key: key.serialize_pem(), ..stored.clone() })
}

fn validity(pem: &str) -> Result<(OffsetDateTime, OffsetDateTime), CertificateError> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| CertificateError::Read(e.to_string()))?;
    let (_, certificate) =
        x509_parser::parse_x509_certificate(&der).map_err(|e| CertificateError::Read(e.to_string()))?;
    let validity = certificate.validity();
    Ok((validity.not_before.to_datetime(), validity.not_after.to_datetime()))
}

/// Whether an API server that trusts `bundle` accepts `leaf` for `name`.
pub fn verify(bundle: &str, leaf: &str, name: &str, now: OffsetDateTime) -> Result<(), CertificateError> {
    use rustls::client::danger::ServerCertVerifier;
    let read = |error: &dyn std::fmt::Display| CertificateError::Read(error.to_string());
    let mut roots = rustls::RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(ca.map_err(|e| read(&e))?).map_err(|e| read(&e))?;
    }
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(std::sync::Arc::new(roots), provider);
    let verifier = verifier.build().map_err(|e| read(&e))?;
    let leaf = CertificateDer::from_pem_slice(leaf.as_bytes()).map_err(|e| read(&e))?;
    let name = ServerName::try_from(name.to_owned()).map_err(|e| read(&e))?;
    let seconds = u64::try_from(now.unix_timestamp()).unwrap_or_default();
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    verifier.verify_server_cert(&leaf, &[], &name, &[], time).map(drop).map_err(|e| read(&e))
}

/// The bundle that the API server is to trust: what it trusts already and has not run out, then the current CA.
#[must_use]
pub fn bundle(live: &str, current: &str, now: OffsetDateTime) -> String {
    let mut kept: Vec<String> = Vec::new();
    for block in blocks(live).into_iter().chain(blocks(current)) {
        let good = validity(&block).is_ok_and(|(_, end)| end > now);
        if good && !kept.contains(&block) {
            kept.push(block);
        }
    }
    kept.concat()
}

/// The PEM blocks of a text, each ended by a line break.
fn blocks(text: &str) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let parts = text.split_inclusive(END).filter(|part| part.contains(END));
    parts.map(|part| format!("{}\n", part.trim())).collect()
}

/// Whether a pair can be served.
#[must_use]
pub fn servable(stored: &Stored, now: OffsetDateTime) -> bool {
    let key = PrivateKeyDer::from_pem_slice(stored.leaf_key.as_bytes()).is_ok();
    key && keys_match(stored) && validity(&stored.leaf).is_ok_and(|(begin, end)| begin <= now && now < end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "stockade-webhook.stockade-system.svc";

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    fn names() -> Vec<String> {
        vec![NAME.into()]
    }

    fn fresh() -> Stored {
        new_authority(&[NAME.into()], now()).unwrap()
    }

    #[test]
    fn a_fresh_pair_is_good_until_two_thirds_of_its_life() {
        let stored = fresh();
        assert_eq!(need(&stored, &names(), now()), Need::Nothing);
        assert_eq!(need(&stored, &names(), now() + Duration::days(59)), Need::Nothing);
        assert_eq!(need(&stored, &names(), now() + Duration::days(61)), Need::Leaf);
        assert_eq!(need(&stored, &names(), now() + Duration::days(CA_DAYS - 80)), Need::Authority);
        assert_eq!(need(&stored, &["another.name".into()], now()), Need::Leaf);
        let further = [names(), vec!["another.name".into()]].concat();
        assert_eq!(need(&stored, &further, now()), Need::Leaf, "every name counts, not the first alone");
    }

    #[test]
    fn what_is_missing_or_damaged_is_made_anew() {
        assert_eq!(need(&Stored::default(), &names(), now()), Need::Authority);
        assert_eq!(need(&Stored { leaf: "x".into(), ..fresh() }, &names(), now()), Need::Leaf);
        assert_eq!(need(&Stored { leaf_key: fresh().leaf_key, ..fresh() }, &names(), now()), Need::Leaf);
        assert_eq!(need(&Stored { ca_key: String::new(), ..fresh() }, &names(), now()), Need::Authority);
        let another = Stored { ca_key: fresh().ca_key, ..fresh() };
        assert_eq!(need(&another, &names(), now()), Need::Authority, "a leaf of it would never be believed");
    }

    #[test]
    fn a_renewed_leaf_is_of_the_same_authority() {
        let stored = fresh();
        let later = now() + Duration::days(61);
        let renewed = new_leaf(&stored, &[NAME.into()], later).unwrap();
        assert_eq!(renewed.ca, stored.ca);
        assert_ne!(renewed.leaf, stored.leaf);
        assert!(verify(&stored.ca, &renewed.leaf, NAME, later).is_ok());
        assert!(servable(&renewed, later));
    }

    #[test]
    fn the_bundle_keeps_what_is_still_trusted_and_drops_what_ran_out() {
        let (old, new) = (fresh(), fresh());
        let both = bundle(&old.ca, &new.ca, now());
        for leaf in [&old.leaf, &new.leaf] {
            assert!(verify(&both, leaf, NAME, now()).is_ok());
        }
        assert!(verify(&old.ca, &new.leaf, NAME, now()).is_err());
        assert_eq!(bundle(&both, &new.ca, now()), both, "nothing to write");
        let later = new_authority(&[NAME.into()], now() + Duration::days(CA_DAYS)).unwrap();
        let pruned = bundle(&both, &later.ca, now() + Duration::days(CA_DAYS + 1));
        assert_eq!(blocks(&pruned).len(), 1);
        assert_eq!(blocks(&bundle("nonsense", &new.ca, now())).len(), 1);
    }
}

//! Encryption of connections: certificates in, an acceptor out.
//!
//! One provider of cryptography (`ring`), TLS 1.2 and 1.3, whatever suites rustls deems safe.

use super::options::TlsOptions;
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// Why there is no encryption.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read, or is no PEM.
    #[error("error parsing X509 certificate/key pair: {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: PemError,
    },
    /// A file of certificates has none.
    #[error("no certificates in {}", .0.display())]
    Empty(PathBuf),
    /// A certificate or key is not what it should be.
    #[error("the certificates cannot be used: {0}")]
    Unfit(#[from] rustls::Error),
    /// Clients cannot be verified with what there is.
    #[error("clients cannot be verified: {0}")]
    Verifier(#[from] VerifierBuilderError),
    /// Nobody says who signs clients' certificates.
    #[error("verifying clients needs a file of certificate authorities (ca_file, --tlscacert)")]
    NoAuthorities,
}

/// What turns a socket into an encrypted connection.
///
/// # Errors
/// [`TlsError`] names the file that cannot be used.
pub fn acceptor(options: &TlsOptions) -> Result<TlsAcceptor, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(&options.certificates)?;
    let key = PrivateKeyDer::from_pem_file(&options.key)
        .map_err(|source| TlsError::File { path: options.key.clone(), source })?;
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = if options.verify {
        let path = options.authorities.as_deref().ok_or(TlsError::NoAuthorities)?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates(path)? {
            roots.add(certificate)?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build()?;
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    Ok(TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key)?)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fault = |source| TlsError::File { path: path.to_owned(), source };
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(fault)?.collect::<Result<_, _>>().map_err(fault)?;
    if found.is_empty() { Err(TlsError::Empty(path.to_owned())) } else { Ok(found) }
}

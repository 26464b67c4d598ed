//! An authority that makes certificates, and a gate that believes it.

use std::{fs, path::PathBuf, sync::Arc};

use countersign_runtime::{
    callers::Gate,
    clock::SystemClock,
    config::{CallerCertificate, Callers, Client},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use tempfile::TempDir;

/// Serial number of the certificate that [`Authority::revocations`] takes back.
const REVOKED: u64 = 666;

/// Makes certificates.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What is otherwise about a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum But {
    Good,
    Expired,
    Revoked,
}

/// A certificate and its key, in PEM.
pub(super) struct Issued {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// For the services, at this machine.
    pub(super) fn server(&self) -> Issued {
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        self.issue(&params)
    }

    /// For a caller.
    pub(super) fn caller(&self, name: &str, but: But) -> Issued {
        let mut params = CertificateParams::default();
        let uri = format!("spiffe://test/{name}").try_into().unwrap();
        params.subject_alt_names = vec![SanType::URI(uri)];
        match but {
            But::Good => {}
            But::Expired => params.not_after = date_time_ymd(2020, 1, 1),
            But::Revoked => params.serial_number = Some(SerialNumber::from(REVOKED)),
        }
        self.issue(&params)
    }

    fn issue(&self, params: &CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        Issued {
            certificate: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// The list of what was taken back.
    pub(super) fn revocations(&self) -> String {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2025, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(REVOKED),
                revocation_time: date_time_ymd(2025, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

/// Files of a test.
pub(super) struct Folder(TempDir);

impl Folder {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// What a caller shows, and whom it believes.
    pub(super) fn client(&self, name: &str, issued: Option<&Issued>, authority: &str) -> Client {
        Client {
            ca_file: Some(self.write(&format!("{name}.ca"), authority)),
            certificate_file: issued.map(|it| self.write(&format!("{name}.crt"), &it.certificate)),
            key_file: issued.map(|it| self.write(&format!("{name}.key"), &it.key)),
            server_name: Some("localhost".to_owned()),
            ..Client::default()
        }
    }

    /// Who may call: whoever shows a certificate of this authority with one of these names.
    pub(super) fn callers(&self, authority: &Authority, known: &[(&str, &[&str])]) -> Callers {
        let server = authority.server();
        let mut callers = Callers::default();
        callers.tls.certificate_file = Some(self.write("server.crt", &server.certificate));
        callers.tls.key_file = Some(self.write("server.key", &server.key));
        callers.tls.client_ca_file = Some(self.write("clients.ca", &authority.pem()));
        callers.certificates = known
            .iter()
            .map(|(name, roles)| CallerCertificate {
                san: format!("spiffe://test/{name}"),
                name: (*name).to_owned(),
                roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            })
            .collect();
        callers
    }
}

/// The gate of a configuration.
pub(super) async fn gate(callers: &Callers) -> Gate {
    let clock = Arc::new(SystemClock);
    Gate::load(callers, clock).await.unwrap()
}

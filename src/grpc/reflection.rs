//! Server reflection, so that grpcurl, `buf curl` and Postman work without our proto files.

use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic_reflection::server::{Builder, Error};

/// Adds reflection v1 and v1alpha to `routes`: grpcurl tries v1 first, Evans and Python's reflection database ask v1alpha
/// only.
///
/// `descriptor_sets` are encoded `FileDescriptorSet`s, served byte for byte and so with their custom options. Those of the
/// error details and of health are added here; without the former, clients show error details as bytes.
///
/// # Errors
///
/// If a set cannot be decoded.
pub fn add_to(routes: Routes, descriptor_sets: &[&[u8]]) -> Result<Routes, Error> {
    let v1 = builder(descriptor_sets).build_v1()?;
    let v1alpha = builder(descriptor_sets).build_v1alpha()?;
    Ok(routes
        .add_service(v1.accept_compressed(CompressionEncoding::Gzip))
        .add_service(v1alpha.accept_compressed(CompressionEncoding::Gzip)))
}

fn builder<'a>(descriptor_sets: &[&'a [u8]]) -> Builder<'a> {
    // The first registration of a file name wins, so ours come first.
    let standard = [tonic_types::pb::FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET];
    descriptor_sets
        .iter()
        .copied()
        .chain(standard)
        .fold(Builder::configure(), |builder, set| builder.register_encoded_file_descriptor_set(set))
}

/* SPDX-License-Identifier: MIT */
#include "tests/server/certificate.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <unistd.h>

static void add_extension(X509 *cert, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *extension;

	X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	X509_add_ext(cert, extension, -1);
	X509_EXTENSION_free(extension);
}

static X509 *make_certificate(EVP_PKEY *key)
{
	X509 *cert = X509_new();
	X509_NAME *name = X509_get_subject_name(cert);

	X509_set_version(cert, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
	X509_gmtime_adj(X509_getm_notAfter(cert), 2L * 86400);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1, 0);
	X509_set_issuer_name(cert, name);
	X509_set_pubkey(cert, key);
	add_extension(cert, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
	add_extension(cert, NID_basic_constraints, "critical,CA:TRUE");
	X509_sign(cert, key, EVP_sha256());
	return cert;
}

static void write_files(X509 *cert, EVP_PKEY *key, const char *cert_path, const char *key_path)
{
	FILE *file = fopen(key_path, "we");

	if (file) {
		PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
		fclose(file);
	}
	file = fopen(cert_path, "we");
	if (file) {
		PEM_write_X509(file, cert);
		fclose(file);
	}
}

SSL_CTX *certificate_context(const char *cert_path, const char *key_path)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key;
	X509 *cert;

	if (cert_path && key_path && access(cert_path, R_OK) == 0) {
		if (SSL_CTX_use_certificate_chain_file(ctx, cert_path) == 1 &&
		    SSL_CTX_use_PrivateKey_file(ctx, key_path, SSL_FILETYPE_PEM) == 1)
			return ctx;
		SSL_CTX_free(ctx);
		return NULL;
	}
	key = EVP_EC_gen("P-256");
	cert = make_certificate(key);
	SSL_CTX_use_certificate(ctx, cert);
	SSL_CTX_use_PrivateKey(ctx, key);
	if (cert_path && key_path)
		write_files(cert, key, cert_path, key_path);
	X509_free(cert);
	EVP_PKEY_free(key);
	return ctx;
}

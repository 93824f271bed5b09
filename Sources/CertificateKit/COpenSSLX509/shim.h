#include <openssl/asn1t.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <string.h>

// What OpenSSL offers as macros, which Swift does not import.
typedef STACK_OF(X509) martlet_x509_stack;
typedef STACK_OF(X509_CRL) martlet_crl_stack;

static inline martlet_x509_stack *martlet_x509_stack_new(void) { return sk_X509_new_null(); }
// The stack does not own what is in it.
static inline int martlet_x509_stack_push(martlet_x509_stack *stack, X509 *item) { return sk_X509_push(stack, item); }
static inline int martlet_x509_stack_count(const martlet_x509_stack *stack) { return sk_X509_num(stack); }
static inline X509 *martlet_x509_stack_at(const martlet_x509_stack *stack, int index) { return sk_X509_value(stack, index); }
static inline void martlet_x509_stack_free(martlet_x509_stack *stack) { sk_X509_free(stack); }
static inline void martlet_x509_stack_free_all(martlet_x509_stack *stack) { sk_X509_pop_free(stack, X509_free); }

static inline martlet_crl_stack *martlet_crl_stack_new(void) { return sk_X509_CRL_new_null(); }
static inline int martlet_crl_stack_push(martlet_crl_stack *stack, X509_CRL *item) { return sk_X509_CRL_push(stack, item); }
static inline void martlet_crl_stack_free(martlet_crl_stack *stack) { sk_X509_CRL_free(stack); }

static inline int martlet_general_name_count(const GENERAL_NAMES *names) { return sk_GENERAL_NAME_num(names); }
static inline const GENERAL_NAME *martlet_general_name_at(const GENERAL_NAMES *names, int index) { return sk_GENERAL_NAME_value(names, index); }
static inline void martlet_general_names_free(GENERAL_NAMES *names) { sk_GENERAL_NAME_pop_free(names, GENERAL_NAME_free); }

// The octets of a name of the kind that the certificate and an IKE identity have in common; -1 for another kind.
static inline int martlet_general_name_bytes(const GENERAL_NAME *name, int *kind, const uint8_t **bytes, long *size) {
    const ASN1_STRING *string = NULL;
    *kind = name->type;
    switch (name->type) {
    case GEN_EMAIL: string = name->d.rfc822Name; break;
    case GEN_DNS: string = name->d.dNSName; break;
    case GEN_IPADD: string = name->d.iPAddress; break;
    case GEN_URI: string = name->d.uniformResourceIdentifier; break;
    default: return -1;
    }
    *bytes = ASN1_STRING_get0_data(string);
    *size = ASN1_STRING_length(string);
    return 0;
}

// The octets of a user principal name, as Microsoft writes it; -1 for another kind of name.
static inline int martlet_general_name_principal(const GENERAL_NAME *name, const uint8_t **bytes, long *size) {
    if (name->type != GEN_OTHERNAME || OBJ_obj2nid(name->d.otherName->type_id) != NID_ms_upn || name->d.otherName->value->type != V_ASN1_UTF8STRING) return -1;
    *bytes = ASN1_STRING_get0_data(name->d.otherName->value->value.utf8string);
    *size = ASN1_STRING_length(name->d.otherName->value->value.utf8string);
    return 0;
}

static inline const X509_NAME *martlet_general_name_directory(const GENERAL_NAME *name) { return name->type == GEN_DIRNAME ? name->d.directoryName : NULL; }

// 1 where the certificate has no such extension or lists one of the identifiers; else 0.
static inline int martlet_purpose_has(const EXTENDED_KEY_USAGE *usages, const char *oid) {
    for (int i = 0; i < sk_ASN1_OBJECT_num(usages); i++) {
        char text[128];
        if (OBJ_obj2txt(text, sizeof text, sk_ASN1_OBJECT_value(usages, i), 1) > 0 && !strcmp(text, oid)) return 1;
    }
    return 0;
}
static inline int martlet_purpose_count(const EXTENDED_KEY_USAGE *usages) { return sk_ASN1_OBJECT_num(usages); }
static inline const ASN1_OBJECT *martlet_purpose_at(const EXTENDED_KEY_USAGE *usages, int index) { return sk_ASN1_OBJECT_value(usages, index); }
static inline void martlet_purposes_free(EXTENDED_KEY_USAGE *usages) { sk_ASN1_OBJECT_pop_free(usages, ASN1_OBJECT_free); }

// Hash, hash of the mask and length of the salt of PSS parameters. Defaults as RFC 4055 section 3.1 has them. 0 where they cannot be read.
static inline int martlet_pss_parameters(const X509_ALGOR *algorithm, int *hash, int *mask_hash, long *salt) {
    const ASN1_OBJECT *object;
    int type, ok = 0;
    const void *value;
    X509_ALGOR_get0(&object, &type, &value, algorithm);
    if (OBJ_obj2nid(object) != NID_rsassaPss || type != V_ASN1_SEQUENCE) return 0;
    RSA_PSS_PARAMS *parameters = ASN1_item_unpack((const ASN1_STRING *)value, ASN1_ITEM_rptr(RSA_PSS_PARAMS));
    if (!parameters) return 0;
    *hash = *mask_hash = NID_sha1;
    *salt = parameters->saltLength ? ASN1_INTEGER_get(parameters->saltLength) : 20;
    if (parameters->hashAlgorithm) {
        X509_ALGOR_get0(&object, NULL, NULL, parameters->hashAlgorithm);
        *hash = OBJ_obj2nid(object);
    }
    ok = !parameters->trailerField || ASN1_INTEGER_get(parameters->trailerField) == 1;
    if (parameters->maskGenAlgorithm) {
        X509_ALGOR_get0(&object, &type, &value, parameters->maskGenAlgorithm);
        X509_ALGOR *inner = OBJ_obj2nid(object) == NID_mgf1 && type == V_ASN1_SEQUENCE ? ASN1_item_unpack((const ASN1_STRING *)value, ASN1_ITEM_rptr(X509_ALGOR)) : NULL;
        if (inner) {
            X509_ALGOR_get0(&object, NULL, NULL, inner);
            *mask_hash = OBJ_obj2nid(object);
            X509_ALGOR_free(inner);
        } else {
            ok = 0;
        }
    }
    RSA_PSS_PARAMS_free(parameters);
    return ok;
}

// The hash of a signature, NID_undef for one that has none of its own; -1 where that cannot be told.
static inline int martlet_signature_hash(const X509_ALGOR *algorithm) {
    const ASN1_OBJECT *object;
    int hash = 0, mask = 0;
    long salt = 0;
    if (!algorithm) return -1;
    X509_ALGOR_get0(&object, NULL, NULL, algorithm);
    if (OBJ_obj2nid(object) == NID_rsassaPss) return martlet_pss_parameters(algorithm, &hash, &mask, &salt) == 1 ? hash : -1;
    return OBJ_find_sigid_algs(OBJ_obj2nid(object), &hash, NULL) == 1 ? hash : -1;
}

static inline int martlet_set_rsa_padding(EVP_PKEY_CTX *context, int pss, int salt, const EVP_MD *mask_hash) {
    if (!pss) return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING);
    return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) > 0 && EVP_PKEY_CTX_set_rsa_pss_saltlen(context, salt) > 0 &&
        EVP_PKEY_CTX_set_rsa_mgf1_md(context, mask_hash) > 0;
}

static inline long martlet_memory(BIO *bio, uint8_t **bytes) { return BIO_get_mem_data(bio, bytes); }
static inline int martlet_error_reason(unsigned long error) { return ERR_GET_REASON(error); }
static inline int martlet_error_library(unsigned long error) { return ERR_GET_LIB(error); }
// Whether anything in the thread's queue of errors says that an algorithm is not there.
static inline int martlet_errors_are_of_algorithm(void) {
    int found = 0;
    for (unsigned long error = ERR_get_error(); error; error = ERR_get_error()) {
        int reason = ERR_GET_REASON(error);
        if (reason == ERR_R_UNSUPPORTED || (ERR_GET_LIB(error) == ERR_LIB_EVP && (reason == EVP_R_UNKNOWN_PBE_ALGORITHM || reason == EVP_R_UNSUPPORTED_CIPHER || reason == EVP_R_UNKNOWN_CIPHER))) found = 1;
    }
    return found;
}
// A library context of its own with the algorithms of old files: nothing else gets at those. NULL where OpenSSL's provider "legacy" is not installed.
static inline OSSL_LIB_CTX *martlet_legacy_library(void) {
    OSSL_LIB_CTX *library = OSSL_LIB_CTX_new();
    if (library && OSSL_PROVIDER_load(library, "default") && OSSL_PROVIDER_load(library, "legacy")) return library;
    OSSL_LIB_CTX_free(library);
    ERR_clear_error();
    return NULL;
}
static inline PKCS12 *martlet_pkcs12(OSSL_LIB_CTX *library, const uint8_t *bytes, long size) {
    PKCS12 *container = PKCS12_init_ex(NID_pkcs7_data, library, NULL);
    if (!d2i_PKCS12(&container, &bytes, size)) {
        PKCS12_free(container);
        return NULL;
    }
    return container;
}
static inline void martlet_free(void *memory) { OPENSSL_free(memory); }
static inline void martlet_cleanse(void *memory, size_t size) { OPENSSL_cleanse(memory, size); }
// Memory of OpenSSL that held a secret.
static inline void martlet_clear_free(void *memory, size_t size) { OPENSSL_clear_free(memory, size); }
static inline int martlet_pem_is_encrypted(const char *header) { return strstr(header, "ENCRYPTED") != NULL; }
// -1 with a wrong passphrase or an unknown cipher. In place; the size may shrink.
static inline int martlet_pem_decrypt(char *header, uint8_t *data, long *size, const char *passphrase) {
    EVP_CIPHER_INFO info;
    if (!PEM_get_EVP_CIPHER_INFO(header, &info)) return -1;
    return PEM_do_header(&info, data, size, NULL, (void *)passphrase) ? 0 : -1;
}
// An ECDSA signature as RFC 4754 section 7 writes it, r and s of equal size one after the other, to DER and back.
static inline int martlet_ecdsa_to_der(const uint8_t *raw, size_t size, uint8_t **der) {
    ECDSA_SIG *signature = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, (int)(size / 2), NULL), *s = BN_bin2bn(raw + size / 2, (int)(size / 2), NULL);
    int length = -1;
    if (signature && r && s && ECDSA_SIG_set0(signature, r, s)) {
        length = i2d_ECDSA_SIG(signature, der);
    } else {
        BN_free(r);
        BN_free(s);
    }
    ECDSA_SIG_free(signature);
    return length;
}
static inline int martlet_ecdsa_from_der(const uint8_t *der, long size, uint8_t *raw, int half) {
    const uint8_t *next = der;
    ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &next, size);
    int ok = signature && BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, half) == half && BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + half, half) == half;
    ECDSA_SIG_free(signature);
    return ok;
}
static inline int martlet_policy_count(const STACK_OF(X509_POLICY_NODE) *nodes) { return sk_X509_POLICY_NODE_num(nodes); }
static inline const X509_POLICY_NODE *martlet_policy_at(const STACK_OF(X509_POLICY_NODE) *nodes, int index) { return sk_X509_POLICY_NODE_value(nodes, index); }
// What a CRL is about: 0 everything, 1 users alone, 2 authorities alone, 3 some certificates or reasons alone, -1 something that is not understood here (indirect, attribute
// certificates, an extension that cannot be read).
static inline int martlet_crl_scope(const X509_CRL *crl) {
    int critical, scope = 0;
    ISSUING_DIST_POINT *point = X509_CRL_get_ext_d2i(crl, NID_issuing_distribution_point, &critical, NULL);
    if (!point) return critical == -1 ? 0 : -1;
    if (point->indirectCRL > 0 || point->onlyattr > 0) scope = -1;
    else if (point->distpoint || point->onlysomereasons) scope = 3;
    else if (point->onlyuser > 0) scope = point->onlyCA > 0 ? -1 : 1;
    else if (point->onlyCA > 0) scope = 2;
    ISSUING_DIST_POINT_free(point);
    return scope;
}
// 1 where an entry has a critical extension that is not known here. RFC 5280 section 5.3: the reason and the date of invalidity are; whose certificate it is in a list of several
// authorities is not.
static inline int martlet_crl_entry_is_unknown(X509_CRL *crl) {
    STACK_OF(X509_REVOKED) *entries = X509_CRL_get_REVOKED(crl);
    for (int i = 0; i < sk_X509_REVOKED_num(entries); i++) {
        const X509_REVOKED *entry = sk_X509_REVOKED_value(entries, i);
        for (int j = 0; j < X509_REVOKED_get_ext_count(entry); j++) {
            X509_EXTENSION *extension = X509_REVOKED_get_ext(entry, j);
            int kind = OBJ_obj2nid(X509_EXTENSION_get_object(extension));
            if (X509_EXTENSION_get_critical(extension) && kind != NID_crl_reason && kind != NID_invalidity_date) return 1;
        }
    }
    return 0;
}
// RFC 5280 section 5.3.1; NULL for a number without a name.
static inline const char *martlet_reason_name(long number) {
    static const char *const names[] = {"unspecified", "key compromise", "CA compromise", "affiliation changed", "superseded", "cessation of operation", "certificate hold", NULL, NULL,
        "privilege withdrawn", "AA compromise"};
    return number >= 0 && number < (long)(sizeof names / sizeof *names) ? names[number] : NULL;
}
// NULL where an entry has no reason.
static inline const char *martlet_crl_reason(const X509_REVOKED *entry) {
    ASN1_ENUMERATED *reason = X509_REVOKED_get_ext_d2i(entry, NID_crl_reason, NULL, NULL);
    if (!reason) return NULL;
    long number = ASN1_ENUMERATED_get(reason);
    ASN1_ENUMERATED_free(reason);
    return martlet_reason_name(number);
}
// Of an RSA key: what it costs to check its signatures. 0 for others.
static inline int martlet_rsa_exponent_bits(const EVP_PKEY *key) {
    BIGNUM *exponent = NULL;
    int bits = 0;
    if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &exponent) == 1) bits = BN_num_bits(exponent);
    BN_free(exponent);
    ERR_clear_error();
    return bits;
}

static inline int martlet_random(uint8_t *bytes, int size) { return RAND_bytes(bytes, size); }

// Copies octets and returns how many; -2 where they do not fit.
static inline long martlet_copy(const ASN1_STRING *string, uint8_t *output, long room) {
    long size = ASN1_STRING_length(string);
    if (size < 0 || size > room) return -2;
    memcpy(output, ASN1_STRING_get0_data(string), (size_t)size);
    return size;
}
// The URIs of a certificate, one at a time: its size, -1 behind the last.
// A point that says which reasons it is about, or whose CRL another authority signs, is left out: what it has is not the whole answer.
static inline int martlet_point_is_whole(const DIST_POINT *point) { return point->distpoint && point->distpoint->type == 0 && !point->reasons && !point->CRLissuer; }
static inline long martlet_crl_uri(const X509 *certificate, int wanted, uint8_t *output, long room) {
    CRL_DIST_POINTS *points = X509_get_ext_d2i(certificate, NID_crl_distribution_points, NULL, NULL);
    long size = -1;
    int seen = 0;
    for (int i = 0; size == -1 && i < sk_DIST_POINT_num(points); i++) {
        const DIST_POINT *point = sk_DIST_POINT_value(points, i);
        if (!martlet_point_is_whole(point)) continue;
        for (int j = 0; size == -1 && j < sk_GENERAL_NAME_num(point->distpoint->name.fullname); j++) {
            const GENERAL_NAME *name = sk_GENERAL_NAME_value(point->distpoint->name.fullname, j);
            if (name->type == GEN_URI && seen++ == wanted) size = martlet_copy(name->d.uniformResourceIdentifier, output, room);
        }
    }
    CRL_DIST_POINTS_free(points);
    return size;
}
static inline long martlet_ocsp_uri(const X509 *certificate, int wanted, uint8_t *output, long room) {
    AUTHORITY_INFO_ACCESS *places = X509_get_ext_d2i(certificate, NID_info_access, NULL, NULL);
    long size = -1;
    int seen = 0;
    for (int i = 0; size == -1 && i < sk_ACCESS_DESCRIPTION_num(places); i++) {
        const ACCESS_DESCRIPTION *place = sk_ACCESS_DESCRIPTION_value(places, i);
        if (OBJ_obj2nid(place->method) == NID_ad_OCSP && place->location->type == GEN_URI && seen++ == wanted)
            size = martlet_copy(place->location->d.uniformResourceIdentifier, output, room);
    }
    AUTHORITY_INFO_ACCESS_free(places);
    return size;
}
// 1 where the CRL is about a part of an authority's certificates, and one of the certificate's distribution points names that part. RFC 5280 section 6.3.3 (b) (2) (i).
static inline int martlet_crl_is_of_point(const X509_CRL *crl, const X509 *certificate, int is_authority) {
    ISSUING_DIST_POINT *part = X509_CRL_get_ext_d2i(crl, NID_issuing_distribution_point, NULL, NULL);
    CRL_DIST_POINTS *points = X509_get_ext_d2i(certificate, NID_crl_distribution_points, NULL, NULL);
    int found = 0;
    if (part && part->distpoint && part->distpoint->type == 0 && !part->onlysomereasons && !(is_authority ? part->onlyuser > 0 : part->onlyCA > 0))
        for (int i = 0; i < sk_DIST_POINT_num(points); i++) {
            const DIST_POINT *point = sk_DIST_POINT_value(points, i);
            if (!martlet_point_is_whole(point)) continue;
            for (int j = 0; j < sk_GENERAL_NAME_num(point->distpoint->name.fullname); j++)
                for (int k = 0; k < sk_GENERAL_NAME_num(part->distpoint->name.fullname); k++)
                    if (GENERAL_NAME_cmp(sk_GENERAL_NAME_value(point->distpoint->name.fullname, j), sk_GENERAL_NAME_value(part->distpoint->name.fullname, k)) == 0) found = 1;
        }
    CRL_DIST_POINTS_free(points);
    ISSUING_DIST_POINT_free(part);
    return found;
}

// OCSP. A request about one certificate, with a nonce (RFC 8954); DER, -1 where it cannot be made.
static inline int martlet_ocsp_request(const X509 *certificate, const X509 *issuer, uint8_t *nonce, int nonce_size, uint8_t **der) {
    int size = -1;
    OCSP_REQUEST *request = OCSP_REQUEST_new();
    // SHA-1, which every responder knows: it identifies, and protects nothing (RFC 5019 section 2.1.1).
    OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), certificate, issuer);
    if (request && id && OCSP_request_add0_id(request, id)) {
        id = NULL;
        if (OCSP_request_add1_nonce(request, nonce, nonce_size) == 1) size = i2d_OCSP_REQUEST(request, der);
    }
    OCSP_CERTID_free(id);
    OCSP_REQUEST_free(request);
    return size;
}
// 1: the answer has the request's nonce; 0: another one; -1: none.
static inline int martlet_ocsp_nonce(const uint8_t *request, long size, OCSP_BASICRESP *answer) {
    OCSP_REQUEST *asked = d2i_OCSP_REQUEST(NULL, &request, size);
    int result = asked ? OCSP_check_nonce(asked, answer) : 0;
    OCSP_REQUEST_free(asked);
    return result == 1 ? 1 : result == -1 ? -1 : 0;
}
static inline int martlet_ocsp_certificate_count(const OCSP_BASICRESP *answer) { return sk_X509_num(OCSP_resp_get0_certs(answer)); }
static inline X509 *martlet_ocsp_certificate_at(const OCSP_BASICRESP *answer, int index) { return sk_X509_value(OCSP_resp_get0_certs(answer), index); }
// Whether the key of `signer` made the answer's signature, and the answer names that signer. Nothing is said of who the signer is.
static inline int martlet_ocsp_is_signed(OCSP_BASICRESP *answer, X509 *signer) {
    STACK_OF(X509) *signers = sk_X509_new_null();
    int result = signers && sk_X509_push(signers, signer) > 0 && OCSP_basic_verify(answer, signers, NULL, OCSP_NOINTERN | OCSP_NOVERIFY) == 1;
    sk_X509_free(signers);
    ERR_clear_error();
    return result;
}
static inline const X509_ALGOR *martlet_ocsp_signature(const OCSP_BASICRESP *answer) { return OCSP_resp_get0_tbs_sigalg(answer); }
// Whether word of those times counts now.
static inline int martlet_is_current(const ASN1_TIME *from, const ASN1_TIME *until, time_t now, time_t skew) {
    return from && ASN1_TIME_cmp_time_t(from, now + skew) <= 0 && (until ? ASN1_TIME_cmp_time_t(until, now) >= 0 : ASN1_TIME_cmp_time_t(from, now - skew) >= 0);
}
// What the answer says of a certificate: V_OCSP_CERTSTATUS_*, -1 where it is about others. What says "revoked" comes before all others, and what counts now before what does not.
static inline int martlet_ocsp_status(OCSP_BASICRESP *answer, const X509 *certificate, const X509 *issuer, time_t now, time_t skew, int *reason, const ASN1_TIME **revoked,
    const ASN1_TIME **this_update, const ASN1_TIME **next_update) {
    int found = -1, found_current = 0;
    for (int i = 0; i < OCSP_resp_count(answer); i++) {
        OCSP_SINGLERESP *single = OCSP_resp_get0(answer, i);
        const OCSP_CERTID *given = OCSP_SINGLERESP_get0_id(single);
        ASN1_OBJECT *hash = NULL;
        if (!OCSP_id_get0_info(NULL, &hash, NULL, NULL, (OCSP_CERTID *)given)) continue;
        const EVP_MD *digest = EVP_get_digestbyobj(hash);
        OCSP_CERTID *own = digest ? OCSP_cert_to_id(digest, certificate, issuer) : NULL;
        int is_same = own && OCSP_id_cmp(own, given) == 0;
        OCSP_CERTID_free(own);
        if (!is_same) continue;
        ASN1_GENERALIZEDTIME *at = NULL, *from = NULL, *until = NULL;
        int why = -1, status = OCSP_single_get0_status(single, &why, &at, &from, &until);
        if (status < 0) continue;
        int current = martlet_is_current(from, until, now, skew);
        // Of two that count now the one that does not say "good".
        if (found != -1 && status != V_OCSP_CERTSTATUS_REVOKED && (current < found_current || (current == found_current && status == V_OCSP_CERTSTATUS_GOOD))) continue;
        found = status;
        found_current = current;
        *reason = why;
        *revoked = at;
        *this_update = from;
        *next_update = until;
        if (status == V_OCSP_CERTSTATUS_REVOKED) break;
    }
    ERR_clear_error();
    return found;
}
// A critical extension in the answer or about the certificate that is not known here.
static inline int martlet_ocsp_has_unknown_critical(OCSP_BASICRESP *answer) {
    for (int i = 0; i < OCSP_BASICRESP_get_ext_count(answer); i++) {
        X509_EXTENSION *extension = OCSP_BASICRESP_get_ext(answer, i);
        if (X509_EXTENSION_get_critical(extension) && OBJ_obj2nid(X509_EXTENSION_get_object(extension)) != NID_id_pkix_OCSP_Nonce) return 1;
    }
    for (int i = 0; i < OCSP_resp_count(answer); i++) {
        OCSP_SINGLERESP *single = OCSP_resp_get0(answer, i);
        for (int j = 0; j < OCSP_SINGLERESP_get_ext_count(single); j++)
            if (X509_EXTENSION_get_critical(OCSP_SINGLERESP_get_ext(single, j))) return 1;
    }
    return 0;
}

#include <stdint.h>
#include <curl/curl.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>

// libcurl, loaded when something is to be fetched for the first time: it brings thirty libraries, 10 ms and 4 MB, which a gateway that fetches nothing does without.
typedef struct martlet_curl {
    CURLcode (*global_init)(long);
    CURL *(*easy_init)(void);
    CURLcode (*easy_setopt)(CURL *, CURLoption, ...);
    CURLcode (*easy_getinfo)(CURL *, CURLINFO, ...);
    void (*easy_cleanup)(CURL *);
    const char *(*easy_strerror)(CURLcode);
    struct curl_slist *(*slist_append)(struct curl_slist *, const char *);
    void (*slist_free_all)(struct curl_slist *);
    CURLM *(*multi_init)(void);
    CURLMcode (*multi_add_handle)(CURLM *, CURL *);
    CURLMcode (*multi_remove_handle)(CURLM *, CURL *);
    CURLMcode (*multi_perform)(CURLM *, int *);
    CURLMcode (*multi_poll)(CURLM *, struct curl_waitfd *, unsigned, int, int *);
    CURLMcode (*multi_wakeup)(CURLM *);
    CURLMsg *(*multi_info_read)(CURLM *, int *);
} martlet_curl;

// NULL, or what is missing.
static inline const char *martlet_curl_load(martlet_curl *curl) {
    void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    if (!library) return "libcurl.so.4";
    struct { void **place; const char *name; } symbols[] = {
        {(void **)&curl->global_init, "curl_global_init"}, {(void **)&curl->easy_init, "curl_easy_init"}, {(void **)&curl->easy_setopt, "curl_easy_setopt"},
        {(void **)&curl->easy_getinfo, "curl_easy_getinfo"}, {(void **)&curl->easy_cleanup, "curl_easy_cleanup"}, {(void **)&curl->easy_strerror, "curl_easy_strerror"},
        {(void **)&curl->slist_append, "curl_slist_append"}, {(void **)&curl->slist_free_all, "curl_slist_free_all"}, {(void **)&curl->multi_init, "curl_multi_init"},
        {(void **)&curl->multi_add_handle, "curl_multi_add_handle"}, {(void **)&curl->multi_remove_handle, "curl_multi_remove_handle"},
        {(void **)&curl->multi_perform, "curl_multi_perform"}, {(void **)&curl->multi_poll, "curl_multi_poll"}, {(void **)&curl->multi_wakeup, "curl_multi_wakeup"},
        {(void **)&curl->multi_info_read, "curl_multi_info_read"},
    };
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++)
        if (!(*symbols[i].place = dlsym(library, symbols[i].name))) return symbols[i].name;
    return curl->global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? NULL : "a libcurl that starts";
}

typedef size_t (*martlet_curl_write)(char *, size_t, size_t, void *);

// A transfer that has begun; NULL where it cannot. `headers` is freed with it.
static inline CURL *martlet_curl_begin(const martlet_curl *curl, CURLM *multi, const char *uri, const uint8_t *body, long body_size, long milliseconds, long limit,
    martlet_curl_write write, void *context, struct curl_slist **headers) {
    CURL *transfer = curl->easy_init();
    if (!transfer) return NULL;
    int failed = 0;
#define SET(option, value) failed |= curl->easy_setopt(transfer, option, value) != CURLE_OK
    SET(CURLOPT_URL, uri);
    // Nothing but HTTP, wherever a server sends us on to.
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 1L);
    SET(CURLOPT_MAXREDIRS, 3L);
    SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    // No proxy, whatever the environment says.
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NOPROXY, "*");
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_TIMEOUT_MS, milliseconds);
    SET(CURLOPT_CONNECTTIMEOUT_MS, milliseconds);
    SET(CURLOPT_MAXFILESIZE, limit);
    SET(CURLOPT_NOSIGNAL, 1L);
    // A look-up of a name that hangs is left behind.
    SET(CURLOPT_QUICK_EXIT, 1L);
    SET(CURLOPT_USERAGENT, "martlet");
    SET(CURLOPT_WRITEFUNCTION, write);
    SET(CURLOPT_WRITEDATA, context);
    SET(CURLOPT_PRIVATE, context);
    *headers = NULL;
    if (body) {
        *headers = curl->slist_append(NULL, "Content-Type: application/ocsp-request");
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDSIZE, body_size);
        SET(CURLOPT_COPYPOSTFIELDS, (const char *)body);
        SET(CURLOPT_HTTPHEADER, *headers);
    }
#undef SET
    if (!failed && curl->multi_add_handle(multi, transfer) == CURLM_OK) return transfer;
    curl->easy_cleanup(transfer);
    curl->slist_free_all(*headers);
    *headers = NULL;
    return NULL;
}
// The context of a transfer that has ended, its result and its HTTP status; NULL where none has.
static inline void *martlet_curl_ended(const martlet_curl *curl, CURLM *multi, CURL **transfer, int *result, long *status) {
    int left;
    CURLMsg *message;
    while ((message = curl->multi_info_read(multi, &left))) {
        if (message->msg != CURLMSG_DONE) continue;
        char *context = NULL;
        *transfer = message->easy_handle;
        *result = message->data.result;
        *status = 0;
        curl->easy_getinfo(*transfer, CURLINFO_PRIVATE, &context);
        curl->easy_getinfo(*transfer, CURLINFO_RESPONSE_CODE, status);
        return context;
    }
    return NULL;
}
static inline void martlet_curl_end(const martlet_curl *curl, CURLM *multi, CURL *transfer, struct curl_slist *headers) {
    curl->multi_remove_handle(multi, transfer);
    curl->easy_cleanup(transfer);
    curl->slist_free_all(headers);
}
static inline CURLM *martlet_curl_multi(const martlet_curl *curl) { return curl->multi_init(); }
static inline void martlet_curl_perform(const martlet_curl *curl, CURLM *multi) {
    int running;
    curl->multi_perform(multi, &running);
}
static inline void martlet_curl_wait(const martlet_curl *curl, CURLM *multi, int milliseconds) { curl->multi_poll(multi, NULL, 0, milliseconds, NULL); }
static inline void martlet_curl_wake(const martlet_curl *curl, CURLM *multi) { curl->multi_wakeup(multi); }
static inline const char *martlet_curl_reason(const martlet_curl *curl, int result) { return curl->easy_strerror((CURLcode)result); }
static const int MARTLET_CURL_OK = CURLE_OK, MARTLET_CURL_TIMEOUT = CURLE_OPERATION_TIMEDOUT, MARTLET_CURL_SIZE = CURLE_FILESIZE_EXCEEDED;

# Every request and its answer, a line each; what is secret in them, as an HMAC.
audit "file" "requests" {
  options {
    file_path = "/tmp/audit.log"
  }
}

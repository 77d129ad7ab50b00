# Every request is a line of the pod's log; what is secret in it, as an HMAC.
audit "file" "stdout" {
  options {
    file_path = "stdout"
  }
}

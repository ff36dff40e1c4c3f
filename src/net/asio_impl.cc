// The single place where Asio and Beast are compiled (see cmake/dependencies.cmake).
#include <boost/asio/impl/src.hpp>
#include <boost/beast/src.hpp>

// Says on stderr at which port a server listens: those that take port 0 say that it is 0.
const net = require("node:net");
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (...args) {
  this.once("listening", () => console.error(`\nlistens at port ${this.address().port}`));
  return listen.apply(this, args);
};
